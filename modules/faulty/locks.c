// SPDX-License-Identifier: GPL-2.0-only
/*
 * Locks used in ways that can deadlock, but do not here: only lockdep (PROVE_LOCKING) tells. Each
 * lock is of its own, so that a fault does nothing to anybody else. And no lock where there should
 * be one: KCSAN.
 */

#include <linux/err.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "faulty.h"

/* Two locks, for lockdep one: initialised in the same place. */
static noinline int faulty_recursive_lock(void)
{
	static struct mutex mutexes[2];
	int i;

	for (i = 0; i < 2; i++)
		mutex_init(&mutexes[i]);
	mutex_lock(&mutexes[0]);
	mutex_lock(&mutexes[1]);
	mutex_unlock(&mutexes[1]);
	mutex_unlock(&mutexes[0]);
	return 0;
}

static noinline int faulty_lock_order(void)
{
	static DEFINE_MUTEX(first);
	static DEFINE_MUTEX(second);

	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);

	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
	return 0;
}

static DEFINE_SPINLOCK(irq_unsafe);

static void faulty_interrupt(struct irq_work *work)
{
	spin_lock(&irq_unsafe);
	spin_unlock(&irq_unsafe);
}

/* Once with interrupts on, once in an interrupt, which could have come while it was held. */
static noinline int faulty_lock_in_irq(void)
{
	struct irq_work work = IRQ_WORK_INIT_HARD(faulty_interrupt);

	spin_lock(&irq_unsafe);
	spin_unlock(&irq_unsafe);
	irq_work_queue(&work);
	irq_work_sync(&work);
	return 0;
}

static noinline int faulty_held_lock(void)
{
	static DEFINE_MUTEX(kept);

	mutex_lock(&kept);
	return 0;
}

static noinline int faulty_bad_unlock(void)
{
	static DEFINE_MUTEX(never_locked);

	mutex_unlock(&never_locked);
	return 0;
}

static noinline int faulty_freed_lock(void)
{
	struct mutex *mutex = kmalloc(sizeof(*mutex), GFP_KERNEL);

	if (!mutex)
		return -ENOMEM;
	mutex_init(mutex);
	mutex_lock(mutex);
	kfree(mutex);
	return 0;
}

static noinline int faulty_unset_lock(void)
{
	spinlock_t *lock = kzalloc(sizeof(*lock), GFP_KERNEL);

	if (!lock)
		return -ENOMEM;
	spin_lock(lock);
	spin_unlock(lock);
	kfree(lock);
	return 0;
}

static noinline int faulty_rcu_misuse(void)
{
	static int __rcu *protected;

	return rcu_dereference(protected) ? -EBUSY : 0;
}

static int raced_for;

static int faulty_racer(void *unused)
{
	while (!kthread_should_stop()) {
		raced_for++;
		cond_resched();
	}
	return 0;
}

/* For a second, with a thread on another CPU. */
static noinline int faulty_data_race(void)
{
	struct task_struct *racer = kthread_run(faulty_racer, NULL, "faulty_racer");
	unsigned long end = jiffies + HZ;

	if (IS_ERR(racer))
		return PTR_ERR(racer);
	while (time_before(jiffies, end)) {
		raced_for++;
		cond_resched();
	}
	return kthread_stop(racer);
}

const struct fault faulty_locks[] = {
	{ "recursive_lock", faulty_recursive_lock },
	{ "lock_order", faulty_lock_order },
	{ "lock_in_irq", faulty_lock_in_irq },
	{ "held_lock", faulty_held_lock },
	{ "bad_unlock", faulty_bad_unlock },
	{ "freed_lock", faulty_freed_lock },
	{ "unset_lock", faulty_unset_lock },
	{ "rcu_misuse", faulty_rcu_misuse },
	{ "data_race", faulty_data_race },
	{ }
};
