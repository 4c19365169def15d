// SPDX-License-Identifier: GPL-2.0-only
/* Wrong use of the stack. */

#include <linux/compiler.h>
#include <linux/kernel.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>

#include "faulty.h"

static noinline int faulty_stack_out_of_bounds(void)
{
	char array[16] = { 0 };
	char *behind = array;

	OPTIMIZER_HIDE_VAR(behind);
	return READ_ONCE(behind[sizeof(array)]) & 0;
}

/*
 * Over the canary and the return address, by an instruction that no sanitizer sees. Without
 * KASAN's layout, which would put zones of its own in between.
 */
static noinline __no_sanitize_address int faulty_stack_smash(void)
{
	char array[16];
	void *at = array;
	unsigned long count = 64;

	asm volatile("rep stosb" : "+D"(at), "+c"(count) : "a"(0x5a) : "memory");
	return array[0] & 0;
}

/* The last word of the stack, which the scheduler looks at (SCHED_STACK_END_CHECK). */
static noinline int faulty_stack_end(void)
{
	WRITE_ONCE(*end_of_stack(current), 0);
	set_current_state(TASK_UNINTERRUPTIBLE);
	schedule_timeout(1);
	return 0;
}

static noinline unsigned int faulty_descend(unsigned int depth)
{
	unsigned long frame[32];
	unsigned long *deepest = frame;

	OPTIMIZER_HIDE_VAR(deepest);
	WRITE_ONCE(*deepest, depth);
	if (READ_ONCE(depth) == UINT_MAX)
		return 0;
	return faulty_descend(depth + 1) + (unsigned int)READ_ONCE(*deepest);
}

static noinline int faulty_stack_overflow(void)
{
	return faulty_descend(0) & 0;
}

const struct fault faulty_stack[] = {
	{ "stack_out_of_bounds", faulty_stack_out_of_bounds },
	{ "stack_smash", faulty_stack_smash },
	{ "stack_end", faulty_stack_end },
	{ "stack_overflow", faulty_stack_overflow },
	{ }
};
