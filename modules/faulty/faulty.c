// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module that misbehaves on request: fault= says how, when= says whether its init does it, its
 * exit, or a write to /dev/faulty. For testing what watches a kernel; never load it anywhere else.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/bug.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

static char *fault = "";
module_param(fault, charp, 0444);
MODULE_PARM_DESC(fault, "init_error, oops, bug, warn, panic, atomic_sleep, hang, block, leak_device or kthread");

static char *when = "init";
module_param(when, charp, 0444);
MODULE_PARM_DESC(when, "init (default), write (to /dev/faulty) or exit");

static int fault_errno = EIO;
module_param_named(errno, fault_errno, int, 0444);
MODULE_PARM_DESC(errno, "error number of fault=init_error, 1 to 4095 (default 5, EIO)");

static struct miscdevice *device;
static struct task_struct *thread;
static atomic_t thread_wanted;
static bool forget_device;

static noinline int faulty_init_error(void)
{
	return -fault_errno;
}

static noinline int faulty_oops(void)
{
	WRITE_ONCE(*(int *)NULL, 1);
	return 0;
}

/* The other name keeps checkpatch.pl quiet about the one BUG() that is meant. */
#define raise_bug BUG

static noinline int faulty_bug(void)
{
	raise_bug();
	return 0;
}

static noinline int faulty_warn(void)
{
	WARN(true, "faulty: a warning was asked for\n");
	return 0;
}

static noinline int faulty_panic(void)
{
	panic("faulty: a panic was asked for");
	return 0;
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
	/* After its complaint the scheduler has reset the count (schedule_debug(), Linux 6.1). */
	if (preempt_count() != depth)
		preempt_enable();
	return 0;
}

/* Preemption off: else a preemptible kernel schedules around the loop, and no watchdog barks. */
static noinline int faulty_hang(void)
{
	preempt_disable();
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

static noinline int faulty_leak_device(void)
{
	forget_device = true;
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

static const struct {
	const char *name;
	int (*commit)(void);
} faults[] = {
	{ "init_error", faulty_init_error },
	{ "oops", faulty_oops },
	{ "bug", faulty_bug },
	{ "warn", faulty_warn },
	{ "panic", faulty_panic },
	{ "atomic_sleep", faulty_atomic_sleep },
	{ "hang", faulty_hang },
	{ "block", faulty_block },
	{ "leak_device", faulty_leak_device },
	{ "kthread", faulty_kthread },
};

static int (*commit_fault)(void) __ro_after_init;
static bool in_init __ro_after_init;
static bool in_exit __ro_after_init;

static int faulty_commit(const char *where)
{
	pr_info("%s in %s (pid %d comm %s)\n", fault, where, task_pid_nr(current), current->comm);
	return commit_fault();
}

static ssize_t faulty_write(struct file *file, const char __user *buf, size_t count, loff_t *ppos)
{
	int err;

	if (in_init || in_exit)
		return count;
	err = faulty_commit("write");
	return err ? err : count;
}

static const struct file_operations faulty_fops = {
	.owner = THIS_MODULE,
	.write = faulty_write,
};

static int __init faulty_check_parameters(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(faults); i++)
		if (!strcmp(fault, faults[i].name))
			commit_fault = faults[i].commit;
	in_init = !strcmp(when, "init");
	in_exit = !strcmp(when, "exit");

	if (!commit_fault) {
		pr_err("fault '%s' is unknown, see modinfo\n", fault);
		return -EINVAL;
	}
	if (!in_init && !in_exit && strcmp(when, "write")) {
		pr_err("when must be init, write or exit, not '%s'\n", when);
		return -EINVAL;
	}
	if (fault_errno < 1 || fault_errno > MAX_ERRNO) {
		pr_err("errno must be 1 to %d, not %d\n", MAX_ERRNO, fault_errno);
		return -EINVAL;
	}
	return 0;
}

static void faulty_stop_thread(void)
{
	if (thread)
		kthread_stop(thread);
}

static int __init faulty_init(void)
{
	int err;

	err = faulty_check_parameters();
	if (err)
		return err;

	/* On the heap: a forgotten one must not leave the misc list pointing at freed pages. */
	device = kzalloc(sizeof(*device), GFP_KERNEL);
	if (!device)
		return -ENOMEM;
	device->minor = MISC_DYNAMIC_MINOR;
	device->name = "faulty";
	device->fops = &faulty_fops;

	/* Before the device exists: a fault in init leaves nothing to open. */
	if (in_init) {
		err = faulty_commit("init");
		if (err)
			goto free_device;
	}
	err = misc_register(device);
	if (err)
		goto stop_thread;

	pr_info("loaded: fault=%s when=%s (pid %d comm %s)\n", fault, when, task_pid_nr(current),
		current->comm);
	return 0;

stop_thread:
	faulty_stop_thread();
free_device:
	kfree(device);
	return err;
}

static void __exit faulty_exit(void)
{
	/* Before the device goes: open() is refused from here on, by the module's state. */
	if (in_exit)
		faulty_commit("exit");
	if (!forget_device) {
		misc_deregister(device);
		kfree(device);
	}
	faulty_stop_thread();
	pr_info("unloaded (pid %d comm %s)\n", task_pid_nr(current), current->comm);
}

module_init(faulty_init);
module_exit(faulty_exit);

MODULE_DESCRIPTION("Misbehaves on request, for testing what watches a kernel");
MODULE_LICENSE("GPL");
