/* SPDX-License-Identifier: MIT */
#ifndef KMOD_HARNESS_JOBS_H
#define KMOD_HARNESS_JOBS_H

#include "port.h"

/* A program that runs with its output on pipes. */
struct job {
	int pid;	/* 0: a free place */
	int pidfd;
	int started;	/* carries an errno if it could not be executed; closed once it is */
	int out;
	int err;
	struct frame request;
};

extern struct job jobs[MAX_JOBS];

/* @payload is the request's: it is changed. */
void start_job(int port, const struct frame *request, char *payload);
void signal_job(int port, const struct frame *request, const __u32 *payload);
void tell_started(int port, struct job *job);
void pass_output(int port, struct job *job, int *from, unsigned long kind);
void bury_job(int port, struct job *job);

#endif
