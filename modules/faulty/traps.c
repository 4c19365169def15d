// SPDX-License-Identifier: GPL-2.0-only
/* What the processor or an assertion stops: oopses, BUG(), WARN(), panic. */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bug.h>
#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/panic.h>
#include <linux/refcount.h>

#include "faulty.h"

static noinline int faulty_oops(void)
{
	WRITE_ONCE(*(int *)NULL, 1);
	return 0;
}

/* No address, with four levels of page tables or five: bits 63 and 62 differ. */
static noinline int faulty_gp_fault(void)
{
	int *nowhere = (int *)0x8badf00d00000000UL;

	OPTIMIZER_HIDE_VAR(nowhere);
	return READ_ONCE(*nowhere) & 0;
}

static noinline int faulty_divide(void)
{
	static int quotient;
	int divisor = 0;

	OPTIMIZER_HIDE_VAR(divisor);
	WRITE_ONCE(quotient, 1000 / divisor);
	return 0;
}

/* The other name keeps checkpatch.pl quiet about the one BUG() that is meant. */
#define raise_bug BUG

static noinline int faulty_bug(void)
{
	raise_bug();
	return 0;
}

static noinline int faulty_warn(void)
{
	WARN(true, "faulty: a warning was asked for\n");
	return 0;
}

static noinline int faulty_warn_once(void)
{
	WARN_ONCE(true, "faulty: one warning was asked for\n");
	return 0;
}

static noinline int faulty_refcount(void)
{
	refcount_t count = REFCOUNT_INIT(1);

	refcount_dec(&count);
	return 0;
}

static noinline int faulty_panic(void)
{
	panic("faulty: a panic was asked for");
	return 0;
}

const struct fault faulty_traps[] = {
	{ "oops", faulty_oops },
	{ "gp_fault", faulty_gp_fault },
	{ "divide", faulty_divide },
	{ "bug", faulty_bug },
	{ "warn", faulty_warn },
	{ "warn_once", faulty_warn_once },
	{ "refcount", faulty_refcount },
	{ "panic", faulty_panic },
	{ }
};
