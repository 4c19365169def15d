/* SPDX-License-Identifier: MIT */
/*
 * The few system calls and string functions that the agent needs, without a C
 * library: the program stays near 10 KiB, so that it costs nothing to unpack
 * at boot and touches few pages after a restore.
 */
#ifndef KMOD_HARNESS_SYS_H
#define KMOD_HARNESS_SYS_H

#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/signal.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <stdbool.h>
#include <stdnoreturn.h>

/* Any system call: x86-64 psABI, appendix A.2.1; errors are -4095..-1. */
static inline long sys(unsigned long nr, unsigned long a, unsigned long b, unsigned long c,
		       unsigned long d, unsigned long e, unsigned long f)
{
	register unsigned long r10 asm("r10") = d;
	register unsigned long r8 asm("r8") = e;
	register unsigned long r9 asm("r9") = f;
	long ret;

	asm volatile("syscall"
		     : "=a"(ret)
		     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		     : "rcx", "r11", "memory");
	return ret;
}

#define W(value) ((unsigned long)(value))
#define SYS0(nr) sys(nr, 0, 0, 0, 0, 0, 0)
#define SYS1(nr, a) sys(nr, W(a), 0, 0, 0, 0, 0)
#define SYS2(nr, a, b) sys(nr, W(a), W(b), 0, 0, 0, 0)
#define SYS3(nr, a, b, c) sys(nr, W(a), W(b), W(c), 0, 0, 0)
#define SYS4(nr, a, b, c, d) sys(nr, W(a), W(b), W(c), W(d), 0, 0)
#define SYS5(nr, a, b, c, d, e) sys(nr, W(a), W(b), W(c), W(d), W(e), 0)

void *memcpy(void *to, const void *from, unsigned long size);
void *memset(void *to, int byte, unsigned long size);
int memcmp(const void *a, const void *b, unsigned long size);
unsigned long strlen(const char *text);

int open_file(const char *path, int flags);
void close_file(int fd);
/* Writes all of it; false when the other side is gone. */
bool write_all(int fd, const void *data, unsigned long size);
long fork_process(void);
noreturn void exit_process(int status);
void sleep_ms(long ms);
/* What the kernel adds to a process's badness when memory is short: "-1000" spares it. */
void set_oom_score(const char *adjustment);
/* Anonymous memory, shared with children when @shared; 0 on failure. */
void *map_memory(unsigned long size, bool shared);
/* One line in the kernel's log, at level "warning". */
void log_line(const char *what, const char *about, long number);

#endif
