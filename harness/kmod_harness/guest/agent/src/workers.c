// SPDX-License-Identifier: MIT
#include <linux/prctl.h>

#include "workers.h"

#include "calls.h"

struct exchange {
	unsigned long size;	/* of the request */
	long result;	/* the answer's size, or a negative errno */
	unsigned char request[MAX_PAYLOAD];
	unsigned char answer[MAX_PAYLOAD];
};

struct worker workers[MAX_WORKERS];

/* Pipes at the top, so that the first file a test opens is number 3 as usual. */
#define BELL_FD 1000
#define ANSWER_FD 1001

static int move_fd(int fd, int to)
{
	return SYS3(__NR_dup3, fd, to, O_CLOEXEC);
}

static void close_others(void)
{
	int fd;

	if (SYS3(__NR_close_range, 0, BELL_FD - 1, 0) < 0)
		for (fd = 0; fd < BELL_FD; fd++)
			close_file(fd);
	SYS3(__NR_close_range, ANSWER_FD + 1, ~0u, 0);
	for (fd = 0; fd < 3; fd++)
		SYS4(__NR_openat, AT_FDCWD, "/dev/null", O_RDWR, 0);
}

static noreturn void work(struct exchange *exchange, int bell, int answer)
{
	unsigned char *scratch = map_memory(MAX_PAYLOAD, 0);
	char byte;

	if (!scratch || move_fd(bell, BELL_FD) < 0 || move_fd(answer, ANSWER_FD) < 0)
		exit_process(1);
	close_others();
	/* what it does for a test may need more memory than there is */
	set_oom_score("0");
	SYS2(__NR_prctl, PR_SET_NAME, "harness-worker");
	SYS0(__NR_setsid);
	while (SYS3(__NR_read, BELL_FD, &byte, 1) == 1) {
		exchange->result = carry_out_calls(exchange->request, exchange->size,
						   exchange->answer, MAX_PAYLOAD,
						   scratch, MAX_PAYLOAD);
		if (SYS3(__NR_write, ANSWER_FD, &byte, 1) != 1)
			break;
	}
	exit_process(0);
}

static struct worker *free_worker(void)
{
	struct worker *worker;

	/* worker 0 does not exist: a request that names none is never meant for one */
	for (worker = workers + 1; worker < workers + MAX_WORKERS; worker++)
		if (!worker->pid)
			return worker;
	return 0;
}

static struct worker *find_worker(const struct frame *request)
{
	struct worker *worker = workers + request->worker;

	return request->worker < MAX_WORKERS && worker->pid ? worker : 0;
}

void start_worker(int port, const struct frame *request)
{
	struct worker *worker = free_worker();
	int bell[2], answer[2];
	__u32 reply[2];
	long pid;

	if (!worker)
		return send_error(port, request, EAGAIN);
	if (!worker->exchange)
		worker->exchange = map_memory(sizeof(*worker->exchange), 1);
	if (!worker->exchange)
		return send_error(port, request, ENOMEM);
	if (SYS2(__NR_pipe2, bell, O_CLOEXEC) < 0)
		return send_error(port, request, EMFILE);
	if (SYS2(__NR_pipe2, answer, O_CLOEXEC) < 0) {
		close_file(bell[0]);
		close_file(bell[1]);
		return send_error(port, request, EMFILE);
	}
	pid = fork_process();
	if (!pid)
		work(worker->exchange, bell[0], answer[1]);
	close_file(bell[0]);
	close_file(answer[1]);
	if (pid < 0) {
		close_file(bell[1]);
		close_file(answer[0]);
		return send_error(port, request, pid);
	}
	worker->pid = pid;
	worker->pidfd = SYS2(__NR_pidfd_open, pid, 0);
	worker->bell = bell[1];
	worker->answer = answer[0];
	worker->busy = 0;
	reply[0] = worker - workers;
	reply[1] = pid;
	send_frame(port, request, KIND_START, reply, sizeof(reply));
}

void stop_worker(int port, const struct frame *request)
{
	struct worker *worker = find_worker(request);

	if (!worker)
		return send_error(port, request, ESRCH);
	/* the answer is its burial */
	worker->request = *request;
	SYS2(__NR_kill, worker->pid, SIGKILL);
}

bool pass_calls(int port, const struct frame *request)
{
	static unsigned char discarded[MAX_PAYLOAD];
	struct worker *worker = find_worker(request);

	if (!worker || worker->busy) {
		if (!read_port(port, discarded, request->size))
			return 0;
		send_error(port, request, worker ? EBUSY : ESRCH);
		return 1;
	}
	if (!read_port(port, worker->exchange->request, request->size))
		return 0;
	worker->exchange->size = request->size;
	worker->request = *request;
	worker->busy = 1;
	SYS3(__NR_write, worker->bell, "", 1);
	return 1;
}

void send_answer(int port, struct worker *worker)
{
	char byte;

	if (SYS3(__NR_read, worker->answer, &byte, 1) != 1)
		return;	/* it died: its pidfd tells */
	worker->busy = 0;
	if (worker->exchange->result < 0)
		send_error(port, &worker->request, worker->exchange->result);
	else
		send_frame(port, &worker->request, KIND_CALLS, worker->exchange->answer,
			   worker->exchange->result);
}

void bury_worker(int port, struct worker *worker)
{
	int status = 0;

	SYS4(__NR_wait4, worker->pid, &status, 0, 0);
	close_file(worker->pidfd);
	close_file(worker->bell);
	close_file(worker->answer);
	worker->pid = 0;
	worker->request.worker = worker - workers;
	send_frame(port, &worker->request, KIND_DIED, &status, sizeof(status));
}
