// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module that misbehaves on request: fault= says how, when= says whether its init does it, its
 * exit, or a write to /dev/faulty. For testing what watches a kernel; never load it anywhere else.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "faulty.h"

static char *fault = "";
module_param(fault, charp, 0444);
MODULE_PARM_DESC(fault, "what to do wrong: oops, warn, hang, use_after_free, ...; README.md has them all");

static char *when = "init";
module_param(when, charp, 0444);
MODULE_PARM_DESC(when, "init (default), init_end, write (to /dev/faulty) or exit");

static const struct fault *const tables[] = {
	faulty_traps, faulty_memory, faulty_stack, faulty_context,
	faulty_locks, faulty_stalls, faulty_undefined, faulty_leftovers,
};

static struct miscdevice *device;
static int (*commit_fault)(void) __ro_after_init;
static bool in_init __ro_after_init;
static bool in_init_end __ro_after_init;
static bool in_exit __ro_after_init;

static int faulty_commit(const char *where)
{
	pr_info("%s in %s (pid %d comm %s)\n", fault, where, task_pid_nr(current), current->comm);
	return commit_fault();
}

static ssize_t faulty_write(struct file *file, const char __user *buf, size_t count, loff_t *ppos)
{
	int err;

	if (in_init || in_init_end || in_exit)
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
	const struct fault *entry;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tables); i++)
		for (entry = tables[i]; entry->name; entry++)
			if (!strcmp(fault, entry->name))
				commit_fault = entry->commit;
	in_init = !strcmp(when, "init");
	in_init_end = !strcmp(when, "init_end");
	in_exit = !strcmp(when, "exit");

	if (!commit_fault) {
		pr_err("fault '%s' is unknown, see README.md\n", fault);
		return -EINVAL;
	}
	if (!in_init && !in_init_end && !in_exit && strcmp(when, "write")) {
		pr_err("when must be init, init_end, write or exit, not '%s'\n", when);
		return -EINVAL;
	}
	return 0;
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
	if (in_init_end) {
		err = faulty_commit("the end of init");
		if (err)
			goto deregister;
	}
	return 0;

deregister:
	misc_deregister(device);
stop_thread:
	faulty_stop_thread();
	faulty_stop_work();
free_device:
	kfree(device);
	return err;
}

static void __exit faulty_exit(void)
{
	/* Before the device goes: open() is refused from here on, by the module's state. */
	if (in_exit)
		faulty_commit("exit");
	if (!faulty_forgets_device) {
		misc_deregister(device);
		kfree(device);
	}
	faulty_stop_thread();
	faulty_stop_work();
	pr_info("unloaded (pid %d comm %s)\n", task_pid_nr(current), current->comm);
}

module_init(faulty_init);
module_exit(faulty_exit);

MODULE_DESCRIPTION("Misbehaves on request, for testing what watches a kernel");
MODULE_LICENSE("GPL");
