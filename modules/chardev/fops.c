// SPDX-License-Identifier: GPL-2.0-only
/*
 * What happens to an open device. Each minor behaves like a small file that cannot grow beyond its
 * buffer: reads stop at the end of the data, writes stop at the end of the buffer, and poll()
 * tells when a read at the current position would return something.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "device.h"

static bool trace_opens;
module_param(trace_opens, bool, 0644);
MODULE_PARM_DESC(trace_opens, "log every open with the process that made it (default N)");

static void chardev_set_used(struct chardev *chardev, size_t used)
{
	lockdep_assert_held(&chardev->lock);
	WRITE_ONCE(chardev->used, used);
	wake_up_interruptible(&chardev->changed);
}

static int chardev_open(struct inode *inode, struct file *file)
{
	struct chardev *chardev = container_of(inode->i_cdev, struct chardev, cdev);

	if (mutex_lock_interruptible(&chardev->lock))
		return -ERESTARTSYS;
	chardev->openers++;
	chardev->counters.opens++;
	mutex_unlock(&chardev->lock);

	file->private_data = chardev;
	if (trace_opens)
		pr_info("open: minor %u (pid %d comm %s)\n", iminor(inode),
			task_pid_nr(current), current->comm);
	return 0;
}

static int chardev_release(struct inode *inode, struct file *file)
{
	struct chardev *chardev = file->private_data;

	mutex_lock(&chardev->lock);
	chardev->openers--;
	mutex_unlock(&chardev->lock);
	return 0;
}

static ssize_t chardev_read(struct kiocb *iocb, struct iov_iter *to)
{
	struct chardev *chardev = iocb->ki_filp->private_data;
	size_t wanted = 0;
	size_t copied = 0;

	if (mutex_lock_interruptible(&chardev->lock))
		return -ERESTARTSYS;
	if (iocb->ki_pos < chardev->used) {
		wanted = min_t(size_t, iov_iter_count(to), chardev->used - iocb->ki_pos);
		copied = copy_to_iter(chardev->data + iocb->ki_pos, wanted, to);
	}
	if (wanted && !copied) {
		mutex_unlock(&chardev->lock);
		return -EFAULT;
	}
	chardev->counters.reads++;
	chardev->counters.bytes_read += copied;
	mutex_unlock(&chardev->lock);

	iocb->ki_pos += copied;
	return copied;
}

static ssize_t chardev_write(struct kiocb *iocb, struct iov_iter *from)
{
	struct chardev *chardev = iocb->ki_filp->private_data;
	size_t wanted, copied;
	ssize_t ret;
	loff_t pos;

	if (!iov_iter_count(from))
		return 0;
	if (mutex_lock_interruptible(&chardev->lock))
		return -ERESTARTSYS;

	/* The VFS only passes O_APPEND on: where the data end is known here. */
	pos = iocb->ki_flags & IOCB_APPEND ? chardev->used : iocb->ki_pos;
	if (pos >= chardev->size) {
		ret = -ENOSPC;
		goto unlock;
	}

	/*
	 * Straight into the buffer: unlike copy_from_user(), copy_from_iter() does not zero what it
	 * could not copy, so a bad pointer destroys no data.
	 */
	wanted = min_t(size_t, iov_iter_count(from), chardev->size - pos);
	copied = copy_from_iter(chardev->data + pos, wanted, from);
	if (!copied) {
		ret = -EFAULT;
		goto unlock;
	}

	if (pos + copied > chardev->used)
		chardev_set_used(chardev, pos + copied);
	chardev->counters.writes++;
	chardev->counters.bytes_written += copied;
	iocb->ki_pos = pos + copied;
	ret = copied;
unlock:
	mutex_unlock(&chardev->lock);
	return ret;
}

static loff_t chardev_llseek(struct file *file, loff_t offset, int whence)
{
	struct chardev *chardev = file->private_data;

	return generic_file_llseek_size(file, offset, whence, chardev->size,
					READ_ONCE(chardev->used));
}

static __poll_t chardev_poll(struct file *file, poll_table *wait)
{
	struct chardev *chardev = file->private_data;
	loff_t write_pos = file->f_pos;
	__poll_t events = 0;
	size_t used;

	poll_wait(file, &chardev->changed, wait);

	used = READ_ONCE(chardev->used);
	if (file->f_flags & O_APPEND)
		write_pos = used;
	if (file->f_pos < used)
		events |= EPOLLIN | EPOLLRDNORM;
	if (write_pos < chardev->size)
		events |= EPOLLOUT | EPOLLWRNORM;
	return events;
}

static long chardev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct chardev *chardev = file->private_data;
	u64 length;

	if (cmd != CHARDEV_SET_LENGTH)
		return -ENOTTY;
	if (!(file->f_mode & FMODE_WRITE))
		return -EBADF;
	if (copy_from_user(&length, (void __user *)arg, sizeof(length)))
		return -EFAULT;
	if (length > chardev->size)
		return -EINVAL;

	if (mutex_lock_interruptible(&chardev->lock))
		return -ERESTARTSYS;
	if (length < chardev->used)
		memset(chardev->data + length, 0, chardev->used - length);
	chardev_set_used(chardev, length);
	mutex_unlock(&chardev->lock);
	return 0;
}

const struct file_operations chardev_fops = {
	.owner = THIS_MODULE,
	.open = chardev_open,
	.release = chardev_release,
	.read_iter = chardev_read,
	.write_iter = chardev_write,
	.llseek = chardev_llseek,
	.poll = chardev_poll,
	.unlocked_ioctl = chardev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
