// SPDX-License-Identifier: GPL-2.0-only
/*
 * A KUnit suite as a module: loading it runs the cases; the kernel log has the results (KTAP).
 * No parameter can choose among them: 6.1 runs them before it reads the parameters
 * (kunit_module_notify(), lib/kunit/test.c: MODULE_STATE_COMING).
 */

#include <kunit/test.h>
#include <linux/module.h>

#include "chardev.h"

static void sum_is_a_sum_of_all(struct kunit *test)
{
	struct chardev_counters sum;

	/* Not added to what was there. */
	memset(&sum, 0xff, sizeof(sum));
	chardev_sum_counters(&sum);
	KUNIT_EXPECT_LT(test, sum.opens, (u64)S64_MAX);
	KUNIT_EXPECT_LT(test, sum.bytes_written, (u64)S64_MAX);
}

static void nothing_is_counted_without_calls(struct kunit *test)
{
	struct chardev_counters before, after;

	chardev_sum_counters(&before);
	chardev_sum_counters(&after);
	KUNIT_EXPECT_EQ(test, before.opens, after.opens);
	KUNIT_EXPECT_EQ(test, before.reads, after.reads);
	KUNIT_EXPECT_EQ(test, before.writes, after.writes);
}

static void bytes_come_with_calls(struct kunit *test)
{
	struct chardev_counters sum;

	chardev_sum_counters(&sum);
	if (!sum.opens)
		kunit_skip(test, "nobody has opened it yet");
	KUNIT_EXPECT_TRUE(test, sum.reads || !sum.bytes_read);
	KUNIT_EXPECT_TRUE(test, sum.writes || !sum.bytes_written);
	KUNIT_EXPECT_TRUE(test, sum.opens || !(sum.reads || sum.writes));
}

/* Fails where somebody opened it before. */
static void begins_with_nothing_opened(struct kunit *test)
{
	struct chardev_counters sum;

	chardev_sum_counters(&sum);
	KUNIT_EXPECT_EQ(test, sum.opens, (u64)0);
}

static struct kunit_case chardev_cases[] = {
	KUNIT_CASE(sum_is_a_sum_of_all),
	KUNIT_CASE(nothing_is_counted_without_calls),
	KUNIT_CASE(bytes_come_with_calls),
	KUNIT_CASE(begins_with_nothing_opened),
	{ }
};

static struct kunit_suite chardev_suite = {
	.name = "chardev",
	.test_cases = chardev_cases,
};

kunit_test_suite(chardev_suite);

MODULE_DESCRIPTION("A KUnit suite for what chardev exports");
MODULE_LICENSE("GPL");
