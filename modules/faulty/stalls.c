// SPDX-License-Identifier: GPL-2.0-only
/* What does not go on: loops, sleeps without end. */

#include <linux/completion.h>
#include <linux/irqflags.h>
#include <linux/nmi.h>
#include <linux/preempt.h>
#include <asm/processor.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/workqueue.h>

#include "faulty.h"

/* Preemption off: else a preemptible kernel schedules around the loop, and no watchdog barks. */
static noinline int faulty_hang(void)
{
	preempt_disable();
	for (;;)
		cpu_relax();
	return 0;
}

/* Nothing reaches this CPU any more, sysrq on the serial port least of all. */
static noinline int faulty_irq_hang(void)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
	return 0;
}

static noinline int faulty_block(void)
{
	DECLARE_COMPLETION_ONSTACK(never);

	wait_for_completion(&never);
	return 0;
}

/*
 * A reader that never ends, for a grace period under way. The watchdog of soft lockups is kept
 * quiet. RCU needs another CPU for its own thread: on a single one nobody would ever complain.
 */
static noinline int faulty_rcu_stall(void)
{
	/* One under way may still have the time limit that was set when it began. */
	synchronize_rcu();
	start_poll_synchronize_rcu();
	rcu_read_lock();
	for (;;) {
		touch_softlockup_watchdog();
		cpu_relax();
	}
	rcu_read_unlock();
	return 0;
}

static bool work_is_over;

/* Runs on and on, and others beside it; its workqueue does not, for it never sleeps. */
static void faulty_endless(struct work_struct *work)
{
	while (!READ_ONCE(work_is_over))
		cond_resched();
}

static void faulty_waiting(struct work_struct *work)
{
}

static DECLARE_WORK(endless_work, faulty_endless);
static DECLARE_WORK(waiting_work, faulty_waiting);

static noinline int faulty_workqueue_lockup(void)
{
	schedule_work(&endless_work);
	schedule_work(&waiting_work);
	return 0;
}

void faulty_stop_work(void)
{
	WRITE_ONCE(work_is_over, true);
	cancel_work_sync(&endless_work);
	cancel_work_sync(&waiting_work);
}

const struct fault faulty_stalls[] = {
	{ "hang", faulty_hang },
	{ "irq_hang", faulty_irq_hang },
	{ "block", faulty_block },
	{ "rcu_stall", faulty_rcu_stall },
	{ "workqueue_lockup", faulty_workqueue_lockup },
	{ }
};
