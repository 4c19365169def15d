// SPDX-License-Identifier: GPL-2.0-only
/*
 * A character device that keeps what is written to it in memory: parameters, and the devices from
 * their making in init to their removal in exit. What an open device does is in fops.c.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "device.h"

#define CHARDEV_MAX_MINORS 64
#define CHARDEV_MAX_BUFFER_SIZE SZ_16M

static unsigned int minors __ro_after_init = 1;
module_param(minors, uint, 0444);
MODULE_PARM_DESC(minors, "number of devices, 1 to 64 (default 1)");

static unsigned int buffer_size __ro_after_init = SZ_4K;
module_param(buffer_size, uint, 0444);
MODULE_PARM_DESC(buffer_size, "bytes each device holds, 1 to 16777216 (default 4096)");

static struct class chardev_class = { .name = "chardev" };
static dev_t first_devt __ro_after_init;
static struct dentry *debugfs_root;
static struct chardev *chardevs[CHARDEV_MAX_MINORS];

/**
 * chardev_sum_counters() - add up what all devices did
 * @sum: filled with the totals
 */
void chardev_sum_counters(struct chardev_counters *sum)
{
	unsigned int minor;

	memset(sum, 0, sizeof(*sum));
	for (minor = 0; minor < minors; minor++) {
		struct chardev *chardev = chardevs[minor];

		mutex_lock(&chardev->lock);
		sum->opens += chardev->counters.opens;
		sum->reads += chardev->counters.reads;
		sum->writes += chardev->counters.writes;
		sum->bytes_read += chardev->counters.bytes_read;
		sum->bytes_written += chardev->counters.bytes_written;
		mutex_unlock(&chardev->lock);
	}
}
EXPORT_SYMBOL_GPL(chardev_sum_counters);

static void chardev_free(struct device *dev)
{
	struct chardev *chardev = container_of(dev, struct chardev, dev);

	kvfree(chardev->data);
	kfree(chardev);
}

static struct chardev *chardev_alloc(unsigned int minor)
{
	struct chardev *chardev;
	int err;

	chardev = kzalloc(sizeof(*chardev), GFP_KERNEL);
	if (!chardev)
		return ERR_PTR(-ENOMEM);
	mutex_init(&chardev->lock);
	init_waitqueue_head(&chardev->changed);
	chardev->size = buffer_size;
	cdev_init(&chardev->cdev, &chardev_fops);
	chardev->cdev.owner = THIS_MODULE;

	device_initialize(&chardev->dev);
	chardev->dev.class = &chardev_class;
	chardev->dev.devt = first_devt + minor;
	chardev->dev.release = chardev_free;
	err = dev_set_name(&chardev->dev, "chardev%u", minor);
	if (err)
		goto put_device;

	/* A size that is too large for this machine is refused, nobody is killed for it. */
	chardev->data = kvzalloc(buffer_size, GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	if (!chardev->data) {
		err = -ENOMEM;
		goto put_device;
	}
	return chardev;

put_device:
	put_device(&chardev->dev);
	return ERR_PTR(err);
}

static void chardev_free_all(void)
{
	unsigned int minor;

	for (minor = 0; minor < minors && chardevs[minor]; minor++)
		put_device(&chardevs[minor]->dev);
}

static int chardev_add(struct chardev *chardev)
{
	struct chardev_counters *counters = &chardev->counters;
	struct dentry *dir;
	int err;

	err = cdev_device_add(&chardev->cdev, &chardev->dev);
	if (err)
		return err;

	dir = debugfs_create_dir(dev_name(&chardev->dev), debugfs_root);
	debugfs_create_u64("opens", 0444, dir, &counters->opens);
	debugfs_create_u64("reads", 0444, dir, &counters->reads);
	debugfs_create_u64("writes", 0444, dir, &counters->writes);
	debugfs_create_u64("bytes_read", 0444, dir, &counters->bytes_read);
	debugfs_create_u64("bytes_written", 0444, dir, &counters->bytes_written);
	debugfs_create_u32("openers", 0444, dir, &chardev->openers);
	debugfs_create_size_t("used", 0444, dir, &chardev->used);
	chardev->debugfs = dir;
	return 0;
}

static void chardev_remove(struct chardev *chardev)
{
	cdev_device_del(&chardev->cdev, &chardev->dev);
	debugfs_remove(chardev->debugfs);
}

static int __init chardev_check_parameters(void)
{
	if (minors < 1 || minors > CHARDEV_MAX_MINORS) {
		pr_err("minors must be 1 to %u, not %u\n", CHARDEV_MAX_MINORS, minors);
		return -EINVAL;
	}
	if (buffer_size < 1 || buffer_size > CHARDEV_MAX_BUFFER_SIZE) {
		pr_err("buffer_size must be 1 to %u bytes, not %u\n", CHARDEV_MAX_BUFFER_SIZE,
		       buffer_size);
		return -EINVAL;
	}
	return 0;
}

static int __init chardev_init(void)
{
	unsigned int minor;
	int err;

	err = chardev_check_parameters();
	if (err)
		return err;
	err = class_register(&chardev_class);
	if (err)
		return err;
	err = alloc_chrdev_region(&first_devt, 0, minors, "chardev");
	if (err)
		goto unregister_class;
	debugfs_root = debugfs_create_dir("chardev", NULL);

	/* All memory first: once a device is added it can be opened, and init should not fail. */
	for (minor = 0; minor < minors; minor++) {
		struct chardev *chardev = chardev_alloc(minor);

		if (IS_ERR(chardev)) {
			err = PTR_ERR(chardev);
			pr_err("no memory for device %u of %u, %u bytes each\n", minor + 1, minors,
			       buffer_size);
			goto free_all;
		}
		chardevs[minor] = chardev;
	}
	for (minor = 0; minor < minors; minor++) {
		err = chardev_add(chardevs[minor]);
		if (err)
			goto remove_added;
	}

	pr_info("loaded: major %u, %u minors, %u bytes each (pid %d comm %s)\n", MAJOR(first_devt),
		minors, buffer_size, task_pid_nr(current), current->comm);
	return 0;

remove_added:
	while (minor--)
		chardev_remove(chardevs[minor]);
free_all:
	chardev_free_all();
	debugfs_remove(debugfs_root);
	unregister_chrdev_region(first_devt, minors);
unregister_class:
	class_unregister(&chardev_class);
	return err;
}

static void __exit chardev_exit(void)
{
	unsigned int minor;

	for (minor = 0; minor < minors; minor++)
		chardev_remove(chardevs[minor]);
	chardev_free_all();
	debugfs_remove(debugfs_root);
	unregister_chrdev_region(first_devt, minors);
	class_unregister(&chardev_class);
	pr_info("unloaded (pid %d comm %s)\n", task_pid_nr(current), current->comm);
}

module_init(chardev_init);
module_exit(chardev_exit);

MODULE_DESCRIPTION("Sample character device that keeps what is written to it");
MODULE_LICENSE("GPL");
