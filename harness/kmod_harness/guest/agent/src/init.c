// SPDX-License-Identifier: MIT
#include "init.h"

#include "sys.h"

#include <linux/mount.h>

#define MODULES "/kmod-harness/modules/"
/* Block device and type of the root file system, a line each; absent: it is this one. */
#define ROOT "/kmod-harness/root"
#define NEW_ROOT "/kmod-harness/mnt"

static void mount(const char *type, const char *directory)
{
	SYS3(__NR_mkdirat, AT_FDCWD, directory, 0755);
	/* the image's init mounts them too: EBUSY there and here is no loss */
	SYS5(__NR_mount, type, directory, type, 0, 0);
}

static void load_module(const char *name)
{
	char path[256] = MODULES;
	unsigned long at = sizeof(MODULES) - 1, size = strlen(name);
	long error;
	int fd;

	if (at + size >= sizeof(path))
		return;
	memcpy(path + at, name, size + 1);
	fd = open_file(path, O_RDONLY);
	error = fd < 0 ? fd : SYS3(__NR_finit_module, fd, "", 0);
	/* one that is built in or was loaded before is what we want */
	if (error < 0 && error != -EEXIST)
		log_line("cannot load ", name, error);
	close_file(fd);
}

/* Kernels whose virtio drivers are modules: names in load order, a line each. */
static void load_channel_modules(void)
{
	static char order[4096];
	int fd = open_file(MODULES "order", O_RDONLY);
	char *name = order, *at;
	long size;

	if (fd < 0)
		return;
	size = SYS3(__NR_read, fd, order, sizeof(order) - 1);
	close_file(fd);
	if (size < 0)
		return;
	order[size] = 0;
	for (at = order; *at; at++) {
		if (*at != '\n')
			continue;
		*at = 0;
		load_module(name);
		name = at + 1;
	}
}

/* A driver may still be probing when its module is loaded: up to 10 s. */
static long await_device(const char *device)
{
	long error = -ENOENT;
	int tries;

	for (tries = 0; tries < 5000; tries++) {
		error = SYS3(__NR_faccessat, AT_FDCWD, device, 0);
		if (!error)
			break;
		sleep_ms(2);
	}
	return error;
}

static long go_to_root(const char *device, const char *type)
{
	long error = await_device(device);

	if (!error)
		error = SYS5(__NR_mount, device, NEW_ROOT, type, 0, 0);
	if (error)
		return error;
	SYS1(__NR_chdir, NEW_ROOT);
	/* in the new root, /dev is mounted again; the move is what switch_root(8) does */
	error = SYS5(__NR_mount, ".", "/", 0, MS_MOVE, 0);
	if (!error)
		error = SYS1(__NR_chroot, ".");
	SYS1(__NR_chdir, "/");
	return error;
}

/* A root file system on a disk: entered before anything starts, so that all see the same one. */
static void enter_root(void)
{
	static char text[256];
	int fd = open_file(ROOT, O_RDONLY);
	char *type = text;
	long size, error;

	if (fd < 0)
		return;
	size = SYS3(__NR_read, fd, text, sizeof(text) - 1);
	close_file(fd);
	while (size > 0 && type < text + size && *type != '\n')
		type++;
	*type++ = 0;
	text[size > 0 ? size - 1 : 0] = 0;
	error = go_to_root(text, type);
	if (error) {
		log_line("cannot go to the root file system on ", text, error);
		/* the kernel panics: a guest in the wrong root would mislead everybody */
		exit_process(1);
	}
	/* what the host pushes goes there */
	SYS3(__NR_mkdirat, AT_FDCWD, "/kmod-harness", 0755);
}

void run_init(char **argv, char **envp)
{
	static const char *const candidates[] = {
		"/init", "/sbin/init", "/etc/init", "/bin/init", "/bin/sh",
	};
	unsigned long i;

	mount("devtmpfs", "/dev");
	load_channel_modules();
	enter_root();
	mount("devtmpfs", "/dev");
	mount("proc", "/proc");
	mount("sysfs", "/sys");
	/* before the agent: a test may look there at once, the image's init may mount later */
	mount("debugfs", "/sys/kernel/debug");
	mount("tracefs", "/sys/kernel/tracing");
	if (!fork_process()) {
		SYS0(__NR_setsid);
		run_agent();
	}
	for (i = 0; i < sizeof(candidates) / sizeof(*candidates); i++) {
		argv[0] = (char *)candidates[i];
		SYS3(__NR_execve, candidates[i], argv, envp);
	}
	log_line("the image has no init that can be executed", "", -ENOENT);
	/* the agent works without one; process 1 must not end, and reaps */
	for (;;)
		if (SYS4(__NR_wait4, -1, 0, 0, 0) == -ECHILD)
			SYS0(__NR_pause);
}
