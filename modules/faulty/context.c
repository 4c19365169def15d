// SPDX-License-Identifier: GPL-2.0-only
/* Things done with preemption or interrupts off, and leaving them off. */

#include <linux/delay.h>
#include <linux/irqflags.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched.h>

#include "faulty.h"

/* After its complaint the scheduler has reset the count (schedule_debug(), Linux 6.1). */
static void restore_preemption(int depth)
{
	if (preempt_count() != depth)
		preempt_enable();
}

/*
 * Sleeps twice with preemption off. A kernel with DEBUG_ATOMIC_SLEEP sees the mutex ("sleeping
 * function called from invalid context"); any that counts preemption sees the second sleep, which
 * enters the scheduler ("scheduling while atomic").
 */
static noinline int faulty_atomic_sleep(void)
{
	static DEFINE_MUTEX(mutex);
	int depth = preempt_count();

	preempt_disable();
	mutex_lock(&mutex);
	mutex_unlock(&mutex);
	msleep(20);
	restore_preemption(depth);
	return 0;
}

static noinline int faulty_atomic_schedule(void)
{
	int depth = preempt_count();

	preempt_disable();
	set_current_state(TASK_UNINTERRUPTIBLE);
	schedule_timeout(1);
	restore_preemption(depth);
	return 0;
}

/* After an init both are looked at: do_one_initcall(). */
static noinline int faulty_preempt_leak(void)
{
	preempt_disable();
	return 0;
}

static noinline int faulty_irq_leak(void)
{
	local_irq_disable();
	return 0;
}

const struct fault faulty_context[] = {
	{ "atomic_sleep", faulty_atomic_sleep },
	{ "atomic_schedule", faulty_atomic_schedule },
	{ "preempt_leak", faulty_preempt_leak },
	{ "irq_leak", faulty_irq_leak },
	{ }
};
