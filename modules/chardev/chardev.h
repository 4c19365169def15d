/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef CHARDEV_H
#define CHARDEV_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define CHARDEV_IOC_TYPE 0xED

/*
 * Sets where the data of a device end, in bytes. What lies behind is discarded, a gap before is
 * filled with zeros. EINVAL: longer than the buffer. EBADF: not open for writing.
 */
#define CHARDEV_SET_LENGTH _IOW(CHARDEV_IOC_TYPE, 1, __u64)

#ifdef __KERNEL__

/* Successful calls and the bytes they moved; a read at the end of the data is one of 0 bytes. */
struct chardev_counters {
	u64 opens;
	u64 reads;
	u64 writes;
	u64 bytes_read;
	u64 bytes_written;
};

void chardev_sum_counters(struct chardev_counters *sum);

#endif /* __KERNEL__ */

#endif /* CHARDEV_H */
