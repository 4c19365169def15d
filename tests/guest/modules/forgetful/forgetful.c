// SPDX-License-Identifier: GPL-2.0
/* Registers one thing, named by a parameter, and takes it back at exit only if it is told to. */
#include <linux/cdev.h>
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/etherdevice.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/proc_fs.h>
#include <linux/reboot.h>
#include <linux/slab.h>
#include <linux/sysctl.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

static char *kind = "timer";
module_param(kind, charp, 0444);
static bool tidy;
module_param(tidy, bool, 0444);

static void fire(struct timer_list *timer) { }

static DEFINE_TIMER(waiting, fire);

struct state {
	struct delayed_work work;
};

static struct state *state;

static void work(struct work_struct *item) { }

static int called(struct notifier_block *block, unsigned long event, void *data)
{
	return NOTIFY_DONE;
}

static struct notifier_block at_reboot = { .notifier_call = called };

static const struct proc_ops proc_calls = { };
static const struct file_operations file_calls = { .owner = THIS_MODULE };
static int major;

static irqreturn_t interrupted(int irq, void *data)
{
	return IRQ_NONE;
}

static int value;
/* TABLE: struct ctl_table, constant where the kernel takes that */
static TABLE table[] = {
	{
		.procname = "forgetful",
		.data = &value,
		.maxlen = sizeof(value),
		.mode = 0644,
		.proc_handler = proc_dointvec,
	},
#ifdef TABLES_END_EMPTY
	{ }
#endif
};

static struct ctl_table_header *sysctl;

static int no_context(struct fs_context *context)
{
	return -EINVAL;
}

static struct file_system_type file_system = {
	.owner = THIS_MODULE, .name = "forgetful", .init_fs_context = no_context,
};

static netdev_tx_t transmit(struct sk_buff *buffer, struct net_device *device)
{
	kfree_skb(buffer);
	return NETDEV_TX_OK;
}

static const struct net_device_ops net_calls = { .ndo_start_xmit = transmit };
static struct net_device *net;

static void set_up(struct net_device *device)
{
	ether_setup(device);
	device->netdev_ops = &net_calls;
}

static struct task_struct *thread;

static int run(void *data)
{
	while (!kthread_should_stop())
		schedule_timeout_interruptible(MAX_SCHEDULE_TIMEOUT);
	return 0;
}

static struct kmem_cache *cache;
static struct kobject *directory;
static struct file *file;
static struct workqueue_struct *queue;

static bool is(const char *name)
{
	return !strcmp(kind, name);
}

static int __init forgetful_init(void)
{
	if (is("timer")) {
		mod_timer(&waiting, jiffies + 1000 * HZ);
	} else if (is("work")) {
		state = kmalloc(sizeof(*state), GFP_KERNEL | __GFP_ZERO);
		if (!state)
			return -ENOMEM;
		INIT_DELAYED_WORK(&state->work, work);
		schedule_delayed_work(&state->work, 1000 * HZ);
	} else if (is("notifier")) {
		return register_reboot_notifier(&at_reboot);
	} else if (is("proc")) {
		return proc_create("forgetful", 0444, NULL, &proc_calls) ? 0 : -ENOMEM;
	} else if (is("irq")) {
		return request_irq(10, interrupted, IRQF_SHARED, "forgetful", &value);
	} else if (is("chrdev")) {
		major = register_chrdev(0, "forgetful", &file_calls);
		return major < 0 ? major : 0;
	} else if (is("sysctl")) {
		sysctl = register_sysctl("kernel", table);
		return sysctl ? 0 : -ENOMEM;
	} else if (is("file_system")) {
		return register_filesystem(&file_system);
	} else if (is("netdev")) {
		net = alloc_netdev(0, "forgetful%d", NET_NAME_UNKNOWN, set_up);
		return net ? register_netdev(net) : -ENOMEM;
	} else if (is("kthread")) {
		thread = kthread_run(run, NULL, "forgetful");
		return PTR_ERR_OR_ZERO(thread);
	} else if (is("slab")) {
		cache = kmem_cache_create("forgetful", 200, 0, 0, NULL);
		return cache ? 0 : -ENOMEM;
	} else if (is("kobject")) {
		directory = kobject_create_and_add("forgetful", kernel_kobj);
		return directory ? 0 : -ENOMEM;
	} else if (is("file")) {
		file = filp_open("/", O_RDONLY, 0);
		return PTR_ERR_OR_ZERO(file);
	} else if (is("workqueue")) {
		queue = alloc_workqueue("forgetful", WQ_UNBOUND, 0);
		return queue ? 0 : -ENOMEM;
	} else {
		return -EINVAL;
	}
	return 0;
}

static void take_back(void)
{
	if (is("timer")) {
		mod_timer(&waiting, jiffies);
		while (timer_pending(&waiting))
			msleep(20);
	} else if (is("work")) {
		cancel_delayed_work_sync(&state->work);
		kfree(state);
	} else if (is("notifier")) {
		unregister_reboot_notifier(&at_reboot);
	} else if (is("proc")) {
		remove_proc_entry("forgetful", NULL);
	} else if (is("irq")) {
		free_irq(10, &value);
	} else if (is("chrdev")) {
		unregister_chrdev(major, "forgetful");
	} else if (is("sysctl")) {
		unregister_sysctl_table(sysctl);
	} else if (is("file_system")) {
		unregister_filesystem(&file_system);
	} else if (is("netdev")) {
		unregister_netdev(net);
		free_netdev(net);
	} else if (is("kthread")) {
		kthread_stop(thread);
	} else if (is("slab")) {
		kmem_cache_destroy(cache);
	} else if (is("kobject")) {
		kobject_put(directory);
	} else if (is("file")) {
		filp_close(file, NULL);
	} else if (is("workqueue")) {
		destroy_workqueue(queue);
	}
}

static void __exit forgetful_exit(void)
{
	if (tidy)
		take_back();
}

module_init(forgetful_init);
module_exit(forgetful_exit);
MODULE_DESCRIPTION("What exits forget");
MODULE_LICENSE("GPL");
