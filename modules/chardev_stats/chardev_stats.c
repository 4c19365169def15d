// SPDX-License-Identifier: GPL-2.0-only
/* Prints what the devices of chardev did so far: a module that needs another one's symbol. */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>

#include "chardev.h"

static int __init chardev_stats_init(void)
{
	struct chardev_counters sum;

	chardev_sum_counters(&sum);
	pr_info("opens %llu, reads %llu (%llu bytes), writes %llu (%llu bytes)\n", sum.opens,
		sum.reads, sum.bytes_read, sum.writes, sum.bytes_written);
	return 0;
}

/* Without an exit function the module could not be unloaded. */
static void __exit chardev_stats_exit(void)
{
}

module_init(chardev_stats_init);
module_exit(chardev_stats_exit);

MODULE_DESCRIPTION("Totals of all chardev devices, printed when loaded");
MODULE_LICENSE("GPL");
