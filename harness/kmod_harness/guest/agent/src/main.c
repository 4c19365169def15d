// SPDX-License-Identifier: MIT
/*
 * The harness inside the guest: one static program, process 1 as `init`, the
 * host's hands as `agent`. The agent is a loop over one port, its workers and
 * its jobs; it carries out nothing itself, so that nothing can block or kill it.
 */
#include "init.h"
#include "jobs.h"
#include "port.h"
#include "workers.h"

#define MAX_FDS (1 + 2 * MAX_WORKERS + 4 * MAX_JOBS)

static bool answer_request(int port, const struct frame *request)
{
	static char payload[MAX_PAYLOAD];
	__u32 hello[2] = { PROTOCOL_VERSION, SYS0(__NR_getpid) };

	if (request->size > MAX_PAYLOAD)
		return 0;	/* out of step: the port is opened anew */
	if (request->kind == KIND_CALLS)
		return pass_calls(port, request);
	if (!read_port(port, payload, request->size))
		return 0;
	switch (request->kind) {
	case KIND_HELLO:
		send_frame(port, request, KIND_HELLO, hello, sizeof(hello));
		break;
	case KIND_START:
		start_worker(port, request);
		break;
	case KIND_STOP:
		stop_worker(port, request);
		break;
	case KIND_RUN:
		start_job(port, request, payload);
		break;
	case KIND_SIGNAL:
		if (request->size == 8)
			signal_job(port, request, (void *)payload);
		else
			send_error(port, request, EINVAL);
		break;
	default:
		send_error(port, request, EOPNOTSUPP);
	}
	return 1;
}

static unsigned long watch(struct pollfd *fds, unsigned long count, int fd)
{
	fds[count] = (struct pollfd) { .fd = fd, .events = POLLIN };
	return count + 1;
}

static unsigned long watch_all(struct pollfd *fds, int port)
{
	unsigned long count = watch(fds, 0, port);
	struct worker *worker;
	struct job *job;

	for (worker = workers; worker < workers + MAX_WORKERS; worker++) {
		if (!worker->pid)
			continue;
		count = watch(fds, count, worker->answer);
		count = watch(fds, count, worker->pidfd);
	}
	for (job = jobs; job < jobs + MAX_JOBS; job++) {
		if (!job->pid)
			continue;
		/* poll(2) passes over a negative fd */
		count = watch(fds, count, job->started);
		count = watch(fds, count, job->out);
		count = watch(fds, count, job->err);
		count = watch(fds, count, job->pidfd);
	}
	return count;
}

static void serve_workers(const struct pollfd **fds, int port)
{
	struct worker *worker;

	for (worker = workers; worker < workers + MAX_WORKERS; worker++) {
		if (!worker->pid)
			continue;
		if ((*fds)[0].revents & POLLIN)
			send_answer(port, worker);
		if ((*fds)[1].revents)
			bury_worker(port, worker);
		*fds += 2;
	}
}

static void serve_jobs(const struct pollfd **fds, int port)
{
	struct job *job;

	for (job = jobs; job < jobs + MAX_JOBS; job++) {
		if (!job->pid)
			continue;
		if ((*fds)[0].revents)
			tell_started(port, job);
		if (job->pid && job->started < 0) {
			if ((*fds)[1].revents)
				pass_output(port, job, &job->out, KIND_STDOUT);
			if ((*fds)[2].revents)
				pass_output(port, job, &job->err, KIND_STDERR);
			if ((*fds)[3].revents)
				bury_job(port, job);
		}
		*fds += 4;
	}
}

/* Answers until the host goes away or gets out of step. */
static void serve(int port)
{
	static struct pollfd fds[MAX_FDS];
	struct frame request = { };
	__u32 hello[2] = { PROTOCOL_VERSION, SYS0(__NR_getpid) };

	send_frame(port, &request, KIND_HELLO, hello, sizeof(hello));
	for (;;) {
		unsigned long count = watch_all(fds, port);
		const struct pollfd *at = fds + 1;

		if (SYS3(__NR_poll, fds, count, -1) < 0)
			continue;
		serve_workers(&at, port);
		serve_jobs(&at, port);
		if (fds[0].revents & POLLIN) {
			if (!read_port(port, &request, sizeof(request)) ||
			    !answer_request(port, &request))
				return;
		} else if (fds[0].revents) {
			return;
		}
	}
}

static void ignore_sigpipe(void)
{
	struct kernel_sigaction {
		unsigned long function, flags, restorer, mask;
	} ignored = { .function = (unsigned long)SIG_IGN };

	SYS4(__NR_rt_sigaction, SIGPIPE, &ignored, 0, 8);
}

void run_agent(void)
{
	ignore_sigpipe();
	/* its death would be taken for the machine's */
	set_oom_score("-1000");
	for (;;) {
		int port = open_port();

		if (port < 0) {
			log_line("no port named ", PORT_NAME, port);
			exit_process(1);
		}
		serve(port);
		close_file(port);
		/* nobody at the other end: a port in this state has no event to wait for */
		sleep_ms(10);
	}
}

noreturn void start(unsigned long *stack)
{
	char **argv = (char **)(stack + 1);
	char **envp = argv + stack[0] + 1;

	/* an image may also start it as a service of its own */
	if (SYS0(__NR_getpid) == 1)
		run_init(argv, envp);
	run_agent();
}

/* psABI 3.4.1: the stack holds argc, argv, envp; it must be 16-byte aligned at a call. */
asm(".globl _start\n_start: xor %ebp, %ebp; mov %rsp, %rdi; and $-16, %rsp; call start\n");
