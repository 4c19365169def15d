/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CHARDEV_DEVICE_H
#define CHARDEV_DEVICE_H

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "chardev.h"

/* One minor. The last reference to its device frees it. */
struct chardev {
	struct device dev;
	struct cdev cdev;
	/* Protects data, used, openers and counters. */
	struct mutex lock;
	/* Woken when used changes, for poll(). */
	wait_queue_head_t changed;
	/* size bytes; zero from used on. */
	u8 *data;
	size_t size;
	/* Bytes of data that were written; poll() and llseek() read it without the lock. */
	size_t used;
	u32 openers;
	struct chardev_counters counters;
	struct dentry *debugfs;
};

extern const struct file_operations chardev_fops;

#endif /* CHARDEV_DEVICE_H */
