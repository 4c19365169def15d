/* SPDX-License-Identifier: MIT */
#ifndef KMOD_HARNESS_WORKERS_H
#define KMOD_HARNESS_WORKERS_H

#include "port.h"

/*
 * A worker is a process that carries out calls, so that one which blocks stops
 * nobody else, and one killed by an oops is an answer. Requests and answers lie
 * in memory shared with it; a byte through a pipe says that one is ready.
 */
struct worker {
	int pid;	/* 0: a free place */
	int pidfd;
	int bell;	/* to the worker: a request is ready */
	int answer;	/* from the worker: its answer is ready */
	struct exchange *exchange;
	bool busy;
	struct frame request;
};

extern struct worker workers[MAX_WORKERS];

void start_worker(int port, const struct frame *request);
void stop_worker(int port, const struct frame *request);
/* Reads the payload from @port, hands it to the worker. False: the host went away. */
bool pass_calls(int port, const struct frame *request);
void send_answer(int port, struct worker *worker);
void bury_worker(int port, struct worker *worker);

#endif
