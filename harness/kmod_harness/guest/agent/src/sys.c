// SPDX-License-Identifier: MIT
#include <linux/mman.h>
#include <linux/time_types.h>

#include "sys.h"

/* gcc emits calls to these four even with -ffreestanding. */
void *memcpy(void *to, const void *from, unsigned long size)
{
	void *start = to;

	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
	return start;
}

void *memset(void *to, int byte, unsigned long size)
{
	void *start = to;

	asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(byte) : "memory");
	return start;
}

int memcmp(const void *a, const void *b, unsigned long size)
{
	const unsigned char *x = a, *y = b;

	for (; size; size--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

unsigned long strlen(const char *text)
{
	unsigned long size = 0;

	while (text[size])
		size++;
	return size;
}

int open_file(const char *path, int flags)
{
	return SYS4(__NR_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
}

void close_file(int fd)
{
	SYS1(__NR_close, fd);
}

bool write_all(int fd, const void *data, unsigned long size)
{
	const char *at = data;

	while (size) {
		long done = SYS3(__NR_write, fd, at, size);

		if (done == -EINTR)
			continue;
		if (done <= 0)
			return 0;
		at += done;
		size -= done;
	}
	return 1;
}

long fork_process(void)
{
	return SYS5(__NR_clone, SIGCHLD, 0, 0, 0, 0);
}

void exit_process(int status)
{
	for (;;)
		SYS1(__NR_exit_group, status);
}

void sleep_ms(long ms)
{
	struct __kernel_timespec time = { ms / 1000, ms % 1000 * 1000000 };

	SYS2(__NR_nanosleep, &time, 0);
}

void set_oom_score(const char *adjustment)
{
	int fd = open_file("/proc/self/oom_score_adj", O_WRONLY);

	/* a kernel without /proc kills by size alone, and the agent is small */
	if (fd < 0)
		return;
	write_all(fd, adjustment, strlen(adjustment));
	close_file(fd);
}

void *map_memory(unsigned long size, bool shared)
{
	long at = sys(__NR_mmap, 0, size, PROT_READ | PROT_WRITE,
		      MAP_ANONYMOUS | (shared ? MAP_SHARED : MAP_PRIVATE), -1, 0);

	return at < 0 && at > -4096 ? 0 : (void *)at;
}

static unsigned long append(char *line, unsigned long at, const char *text, unsigned long limit)
{
	while (*text && at < limit)
		line[at++] = *text++;
	return at;
}

void log_line(const char *what, const char *about, long number)
{
	char line[256], digits[24];
	const unsigned long limit = sizeof(line) - sizeof(digits) - 2;
	unsigned long at, value = number < 0 ? -number : number;
	char *digit = digits + sizeof(digits) - 1;
	int fd = open_file("/dev/kmsg", O_WRONLY);

	if (fd < 0)
		return;
	*digit = 0;
	do {
		digit--;
		*digit = '0' + value % 10;
		value /= 10;
	} while (value);
	if (number < 0) {
		digit--;
		*digit = '-';
	}
	at = append(line, 0, "<4>kmod-harness: ", limit);
	at = append(line, at, what, limit);
	at = append(line, at, about, limit);
	at = append(line, at, ": ", limit);
	at = append(line, at, digit, sizeof(line) - 1);
	line[at++] = '\n';
	write_all(fd, line, at);
	close_file(fd);
}
