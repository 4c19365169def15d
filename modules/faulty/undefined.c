// SPDX-License-Identifier: GPL-2.0-only
/* What C leaves undefined and the kernel's compiler flags do not define; it does no harm here. */

#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kernel.h>

#include "faulty.h"

static noinline int faulty_shift(void)
{
	static int result;
	int count = 40;

	OPTIMIZER_HIDE_VAR(count);
	WRITE_ONCE(result, 1 << count);
	return 0;
}

/* What lies behind the array belongs to the same object: KASAN has nothing to say. */
static noinline int faulty_array_index(void)
{
	static struct {
		int array[4];
		int rest[4];
	} object;
	int index = 5;

	OPTIMIZER_HIDE_VAR(index);
	return READ_ONCE(object.array[index]) & 0;
}

static noinline int faulty_bad_bool(void)
{
	static unsigned char storage = 2;
	bool *truth = (bool *)&storage;

	OPTIMIZER_HIDE_VAR(truth);
	return *truth ? 0 : -EINVAL;
}

const struct fault faulty_undefined[] = {
	{ "shift", faulty_shift },
	{ "array_index", faulty_array_index },
	{ "bad_bool", faulty_bad_bool },
	{ }
};
