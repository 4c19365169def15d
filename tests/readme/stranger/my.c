// SPDX-License-Identifier: GPL-2.0-only
/*
 * A stranger's module: /dev/my remembers the last line written to it, and "oops" is its bug.
 */

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>

static char last[64];
static size_t last_size;

static ssize_t my_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	return simple_read_from_buffer(to, size, at, last, last_size);
}

static ssize_t my_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	size_t taken = min(size, sizeof(last));
	int *nowhere = NULL;

	if (copy_from_user(last, from, taken))
		return -EFAULT;
	last_size = taken;
	if (taken >= 4 && !memcmp(last, "oops", 4))
		WRITE_ONCE(*nowhere, 1);
	return taken;
}

static const struct file_operations my_operations = {
	.owner = THIS_MODULE,
	.read = my_read,
	.write = my_write,
};

static struct miscdevice my_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "my",
	.fops = &my_operations,
};

static int __init my_init(void)
{
	return misc_register(&my_device);
}
module_init(my_init);

static void __exit my_exit(void)
{
	misc_deregister(&my_device);
}
module_exit(my_exit);

MODULE_DESCRIPTION("Remembers the last line written to it");
MODULE_LICENSE("GPL");
