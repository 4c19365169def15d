// SPDX-License-Identifier: MIT
#include "jobs.h"

#define MAX_STRINGS 1024

struct job jobs[MAX_JOBS];

struct program {
	const char *input;	/* a path; empty: /dev/null */
	const char *directory;
	char **argv;
	char **envp;
};

static char *take_string(char **at, char *end)
{
	char *start = *at;

	while (*at < end)
		if (!*(*at)++)
			return start;
	return 0;
}

static bool parse_program(char *payload, unsigned long size, struct program *program)
{
	static char *strings[MAX_STRINGS + 2];
	char *at = payload + 4, *end = payload + size;
	__u16 argc, envc;
	unsigned long i;

	if (size < 4)
		return 0;
	memcpy(&argc, payload, 2);
	memcpy(&envc, payload + 2, 2);
	if (!argc || argc + envc > MAX_STRINGS)
		return 0;
	program->input = take_string(&at, end);
	program->directory = take_string(&at, end);
	program->argv = strings;
	program->envp = strings + argc + 1;
	for (i = 0; i < argc; i++)
		program->argv[i] = take_string(&at, end);
	program->argv[argc] = 0;
	for (i = 0; i < envc; i++)
		program->envp[i] = take_string(&at, end);
	program->envp[envc] = 0;
	/* a string without an end makes all later ones 0 as well */
	return envc ? program->envp[envc - 1] != 0 : program->argv[argc - 1] != 0;
}

static bool has_slash(const char *name)
{
	for (; *name; name++)
		if (*name == '/')
			return 1;
	return 0;
}

static const char *search_path(char **envp)
{
	for (; *envp; envp++)
		if (strlen(*envp) > 5 && !memcmp(*envp, "PATH=", 5))
			return *envp + 5;
	return "/usr/sbin:/usr/bin:/sbin:/bin";
}

/* execvpe(3): only returns when no candidate could be executed. */
static long execute(const struct program *program)
{
	const char *name = program->argv[0], *path = search_path(program->envp);
	long error = -ENOENT, tried;
	char candidate[512];
	unsigned long size;

	if (has_slash(name))
		return SYS3(__NR_execve, name, program->argv, program->envp);
	while (*path) {
		for (size = 0; path[size] && path[size] != ':'; size++)
			;
		if (size + strlen(name) + 2 <= sizeof(candidate)) {
			memcpy(candidate, path, size);
			candidate[size] = '/';
			memcpy(candidate + size + 1, name, strlen(name) + 1);
			tried = SYS3(__NR_execve, candidate, program->argv, program->envp);
			if (tried != -ENOENT && tried != -ENOTDIR)
				error = tried;
		}
		path += size;
		path += *path == ':';
	}
	return error;
}

static long become(const struct program *program, int out, int err)
{
	struct kernel_sigaction {
		unsigned long function, flags, restorer, mask;
	} standard = { };
	int in = open_file(*program->input ? program->input : "/dev/null", O_RDONLY);

	if (in < 0)
		return in;
	set_oom_score("0");
	SYS3(__NR_dup3, in, 0, 0);
	SYS3(__NR_dup3, out, 1, 0);
	SYS3(__NR_dup3, err, 2, 0);
	SYS0(__NR_setsid);
	SYS4(__NR_rt_sigaction, SIGPIPE, &standard, 0, 8);
	if (*program->directory) {
		long moved = SYS1(__NR_chdir, program->directory);

		if (moved < 0)
			return moved;
	}
	return execute(program);
}

static struct job *free_job(void)
{
	struct job *job;

	for (job = jobs; job < jobs + MAX_JOBS; job++)
		if (!job->pid)
			return job;
	return 0;
}

void start_job(int port, const struct frame *request, char *payload)
{
	struct job *job = free_job();
	int out[2] = { -1, -1 }, err[2] = { -1, -1 }, started[2] = { -1, -1 };
	struct program program;
	long pid;

	if (!job)
		return send_error(port, request, EAGAIN);
	if (!parse_program(payload, request->size, &program))
		return send_error(port, request, EINVAL);
	if (SYS2(__NR_pipe2, out, O_CLOEXEC) < 0 || SYS2(__NR_pipe2, err, O_CLOEXEC) < 0 ||
	    SYS2(__NR_pipe2, started, O_CLOEXEC) < 0)
		pid = -EMFILE;
	else
		pid = fork_process();
	if (!pid) {
		__s32 error = -become(&program, out[1], err[1]);

		write_all(started[1], &error, sizeof(error));
		exit_process(127);
	}
	close_file(out[1]);
	close_file(err[1]);
	close_file(started[1]);
	if (pid < 0) {
		close_file(out[0]);
		close_file(err[0]);
		close_file(started[0]);
		return send_error(port, request, pid);
	}
	SYS3(__NR_fcntl, out[0], F_SETFL, O_NONBLOCK);
	SYS3(__NR_fcntl, err[0], F_SETFL, O_NONBLOCK);
	*job = (struct job) {
		.pid = pid, .pidfd = SYS2(__NR_pidfd_open, pid, 0), .started = started[0],
		.out = out[0], .err = err[0], .request = *request,
	};
}

static void drop(int *fd)
{
	if (*fd >= 0)
		close_file(*fd);
	*fd = -1;
}

static void forget(struct job *job)
{
	drop(&job->out);
	drop(&job->err);
	drop(&job->started);
	drop(&job->pidfd);
	job->pid = 0;
}

void tell_started(int port, struct job *job)
{
	__s32 error, pid = job->pid;
	long got = SYS3(__NR_read, job->started, &error, sizeof(error));

	drop(&job->started);
	if (got == sizeof(error)) {
		SYS4(__NR_wait4, job->pid, 0, 0, 0);
		send_error(port, &job->request, error);
		forget(job);
		return;
	}
	send_frame(port, &job->request, KIND_RUN, &pid, sizeof(pid));
}

void pass_output(int port, struct job *job, int *from, unsigned long kind)
{
	static char bytes[1 << 15];
	long got;

	if (*from < 0)
		return;
	got = SYS3(__NR_read, *from, bytes, sizeof(bytes));
	if (got > 0)
		send_frame(port, &job->request, kind, bytes, got);
	else if (got != -EAGAIN && got != -EINTR)
		drop(from);
}

void bury_job(int port, struct job *job)
{
	int status = 0, i;

	SYS4(__NR_wait4, job->pid, &status, 0, 0);
	/* what it wrote is in the pipes, 64 KiB each; children it left may write on, unheard */
	for (i = 0; i < 3; i++) {
		pass_output(port, job, &job->out, KIND_STDOUT);
		pass_output(port, job, &job->err, KIND_STDERR);
	}
	send_frame(port, &job->request, KIND_EXIT, &status, sizeof(status));
	forget(job);
}

void signal_job(int port, const struct frame *request, const __u32 *payload)
{
	struct job *job;

	for (job = jobs; job < jobs + MAX_JOBS; job++) {
		if (!job->pid || job->request.tag != payload[0])
			continue;
		/* no group of its own yet: it is between fork and setsid */
		if (SYS2(__NR_kill, -job->pid, payload[1]) < 0)
			SYS2(__NR_kill, job->pid, payload[1]);
		return send_frame(port, request, KIND_SIGNAL, "", 0);
	}
	send_error(port, request, ESRCH);
}
