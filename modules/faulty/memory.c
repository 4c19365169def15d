// SPDX-License-Identifier: GPL-2.0-only
/* Wrong use of memory: of the heap, of lists, of pages. */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/compiler.h>
#include <linux/gfp.h>
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/timer.h>

#include "faulty.h"

/* Less than its slab's slot of 64: a byte behind it belongs to nobody. */
#define OBJECT_SIZE 40

static char global[OBJECT_SIZE];

/* Returns the pointer; the compiler no longer knows what lies there. */
static void *hidden(void *pointer)
{
	OPTIMIZER_HIDE_VAR(pointer);
	return pointer;
}

static noinline int faulty_use_after_free(void)
{
	char *object = kmalloc(OBJECT_SIZE, GFP_KERNEL);
	char *stale = hidden(object);

	if (!object)
		return -ENOMEM;
	kfree(object);
	return READ_ONCE(*stale) & 0;
}

static noinline int faulty_out_of_bounds(void)
{
	char *object = hidden(kmalloc(OBJECT_SIZE, GFP_KERNEL));

	if (!object)
		return -ENOMEM;
	WRITE_ONCE(object[OBJECT_SIZE], 1);
	kfree(object);
	return 0;
}

static noinline int faulty_global_out_of_bounds(void)
{
	char *object = hidden(global);

	return READ_ONCE(object[OBJECT_SIZE]) & 0;
}

static noinline int faulty_double_free(void)
{
	char *object = kmalloc(OBJECT_SIZE, GFP_KERNEL);
	char *stale = hidden(object);

	if (!object)
		return -ENOMEM;
	kfree(object);
	kfree(stale);
	return 0;
}

static noinline int faulty_leak(void)
{
	char *object = hidden(kmalloc(OBJECT_SIZE, GFP_KERNEL));

	if (!object)
		return -ENOMEM;
	WRITE_ONCE(*object, 1);
	return 0;
}

static noinline int faulty_percpu_leak(void)
{
	int __percpu *object = alloc_percpu(int);

	if (!object)
		return -ENOMEM;
	this_cpu_write(*object, 1);
	return 0;
}

/*
 * By an instruction that no sanitizer sees, into a cache that checks itself on every kernel with
 * SLUB_DEBUG. Destroying the cache frees what KASAN keeps in quarantine.
 */
static noinline int faulty_slab_corruption(void)
{
	struct kmem_cache *cache;
	char *object;

	cache = kmem_cache_create("faulty_cache", OBJECT_SIZE, 0,
				  SLAB_RED_ZONE | SLAB_POISON | SLAB_CONSISTENCY_CHECKS, NULL);
	if (!cache)
		return -ENOMEM;
	object = kmem_cache_alloc(cache, GFP_KERNEL);
	if (object) {
		asm volatile("movb $1, %0" : "=m"(object[OBJECT_SIZE]));
		kmem_cache_free(cache, object);
	}
	kmem_cache_destroy(cache);
	return object ? 0 : -ENOMEM;
}

/* Of 16 pages: fewer go to a CPU's list first, and are not looked at (free_pcp_prepare(), 6.1). */
static noinline int faulty_bad_page(void)
{
	struct page *page = alloc_pages(GFP_KERNEL, 4);

	if (!page)
		return -ENOMEM;
	page->mapping = (void *)8;
	__free_pages(page, 4);
	return 0;
}

/* Deleted twice: the second time its neighbours are LIST_POISON1 and LIST_POISON2. */
static noinline int faulty_list_corruption(void)
{
	static LIST_HEAD(list);
	static LIST_HEAD(entry);

	list_add(&entry, &list);
	list_del(&entry);
	list_del(&entry);
	return 0;
}

static void faulty_timer(struct timer_list *timer)
{
}

static noinline int faulty_free_active_timer(void)
{
	struct timer_list *timer = kzalloc(sizeof(*timer), GFP_KERNEL);

	if (!timer)
		return -ENOMEM;
	timer_setup(timer, faulty_timer, 0);
	mod_timer(timer, jiffies + 3600 * HZ);
	kfree(timer);
	return 0;
}

/* All the memory there is, given back when the kernel has killed somebody for it. */
static noinline int faulty_out_of_memory(void)
{
	void **first = NULL, **page;
	unsigned long pages = 0;

	while (!fatal_signal_pending(current)) {
		page = (void **)__get_free_page(GFP_KERNEL);
		if (!page)
			break;
		*page = first;
		first = page;
		pages++;
	}
	while (first) {
		page = first;
		first = *page;
		free_page((unsigned long)page);
	}
	pr_info("%lu pages were there\n", pages);
	return -ENOMEM;
}

const struct fault faulty_memory[] = {
	{ "use_after_free", faulty_use_after_free },
	{ "out_of_bounds", faulty_out_of_bounds },
	{ "global_out_of_bounds", faulty_global_out_of_bounds },
	{ "double_free", faulty_double_free },
	{ "leak", faulty_leak },
	{ "percpu_leak", faulty_percpu_leak },
	{ "slab_corruption", faulty_slab_corruption },
	{ "bad_page", faulty_bad_page },
	{ "list_corruption", faulty_list_corruption },
	{ "free_active_timer", faulty_free_active_timer },
	{ "out_of_memory", faulty_out_of_memory },
	{ }
};
