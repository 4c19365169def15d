// SPDX-License-Identifier: GPL-2.0-only
/* No crime against the kernel, but trouble: a failed init; devices, threads, timers left behind. */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/timer.h>

#include "faulty.h"

static int fault_errno = EIO;
module_param_named(errno, fault_errno, int, 0444);
MODULE_PARM_DESC(errno, "error number of fault=init_error, 1 to 4095 (default 5, EIO)");

static struct task_struct *thread;
static atomic_t thread_wanted;
bool faulty_forgets_device;

static noinline int faulty_init_error(void)
{
	if (fault_errno < 1 || fault_errno > MAX_ERRNO) {
		pr_err("errno must be 1 to %d, not %d\n", MAX_ERRNO, fault_errno);
		return -EINVAL;
	}
	return -fault_errno;
}

static noinline int faulty_leak_device(void)
{
	faulty_forgets_device = true;
	return 0;
}

static int faulty_thread(void *unused)
{
	unsigned int tick;

	for (tick = 1; !kthread_should_stop(); tick++) {
		pr_info("tick %u (pid %d comm %s)\n", tick, task_pid_nr(current), current->comm);
		schedule_timeout_interruptible(HZ / 2);
	}
	return 0;
}

static noinline int faulty_kthread(void)
{
	struct task_struct *started;

	if (atomic_xchg(&thread_wanted, 1))
		return -EBUSY;
	started = kthread_run(faulty_thread, NULL, "faulty_kthread");
	if (IS_ERR(started)) {
		atomic_set(&thread_wanted, 0);
		return PTR_ERR(started);
	}
	thread = started;
	return 0;
}

void faulty_stop_thread(void)
{
	if (thread)
		kthread_stop(thread);
}

static void faulty_late(struct timer_list *timer)
{
	pr_info("the timer fired\n");
	kfree(timer);
}

/* On the heap, as a driver's for its device: the module's own data would be missed first. */
static noinline int faulty_forgotten_timer(void)
{
	struct timer_list *timer = kzalloc(sizeof(*timer), GFP_KERNEL);

	if (!timer)
		return -ENOMEM;
	timer_setup(timer, faulty_late, 0);
	mod_timer(timer, jiffies + HZ);
	return 0;
}

const struct fault faulty_leftovers[] = {
	{ "init_error", faulty_init_error },
	{ "leak_device", faulty_leak_device },
	{ "kthread", faulty_kthread },
	{ "forgotten_timer", faulty_forgotten_timer },
	{ }
};
