// SPDX-License-Identifier: GPL-2.0-only
/*
 * Code in .init.text, .exit.text, .text and .text.unlikely, each called from the one before, and a
 * fault at the place asked for: what traces with frames in all of them are recorded with.
 *
 * from=init, exit or write (to parameters/go) is where the calls begin, at= how deep the fault is:
 * entry, step, cold or back. fault= is warn, bug, oops, divide or gp. First letters count.
 */

#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/module.h>

static char *from = "write";
module_param(from, charp, 0444);
MODULE_PARM_DESC(from, "init, exit or write");

static char *at = "back";
module_param(at, charp, 0444);
MODULE_PARM_DESC(at, "entry, step, cold or back");

static char *fault = "warn";
module_param(fault, charp, 0444);
MODULE_PARM_DESC(fault, "warn, bug, oops, divide or gp");

/* The other name keeps checkpatch.pl quiet about the one BUG() that is meant. */
#define raise_bug BUG

static __always_inline int divided(void)
{
	int divisor = 0;

	OPTIMIZER_HIDE_VAR(divisor);
	return 1000 / divisor;
}

static __always_inline int fetched(unsigned long address)
{
	OPTIMIZER_HIDE_VAR(address);
	return READ_ONCE(*(int *)address);
}

static __always_inline int strike(void)
{
	switch (*fault) {
	case 'b':
		raise_bug();
	case 'd':
		return divided();
	case 'o':
		return fetched(8);
	case 'g':
		return fetched(0x8badf00d00000000UL);
	}
	WARN_ON(1);
	return 0;
}

static __always_inline int reached(char place)
{
	return *at == place ? strike() : 1;
}

/* Called from .text as well, or it would be in .text.unlikely. */
static noinline int crossing_back(void)
{
	return reached('b') + 1;
}

/* In .text.unlikely; what follows each call is on another line. */
static noinline __cold int crossing_cold(void)
{
	int sum = reached('c');

	sum += crossing_back();
	return sum + 1;
}

/* The branch that calls what is __cold is moved to crossing_step.cold, also in .text.unlikely. */
static noinline int crossing_step(char place)
{
	int sum = reached('s');

	if (place != *from)
		return crossing_back();
	sum += crossing_cold();
	return sum;
}

static int go(const char *value, const struct kernel_param *parameter)
{
	int sum = *from == 'w' ? reached('e') : 0;

	sum += crossing_step('w');
	return sum ? 0 : -EIO;
}

static const struct kernel_param_ops go_ops = { .set = go };
module_param_cb(go, &go_ops, NULL, 0200);

static noinline __init int crossing_prepare(void)
{
	int sum = reached('e');

	sum += crossing_step('i');
	return sum;
}

static int __init crossing_init(void)
{
	int sum = 0;

	if (*from == 'i')
		sum += crossing_prepare();
	return sum < 0 ? -EIO : 0;
}

static noinline __exit int crossing_end(void)
{
	int sum = reached('e');

	sum += crossing_step('e');
	return sum;
}

static void __exit crossing_exit(void)
{
	if (*from == 'e' && crossing_end() < 0)
		pr_info("crossing: nothing was reached\n");
}

module_init(crossing_init);
module_exit(crossing_exit);

MODULE_DESCRIPTION("Faults in each text section, for testing what reads traces");
MODULE_LICENSE("GPL");
