/* SPDX-License-Identifier: MIT */
/*
 * What crosses the virtio-serial port, both ways: frames of a 16-byte header
 * and a payload, all numbers little-endian. guest/protocol.py is the other end;
 * change both and PROTOCOL_VERSION together.
 */
#ifndef KMOD_HARNESS_PROTOCOL_H
#define KMOD_HARNESS_PROTOCOL_H

#include <linux/types.h>

#define PORT_NAME "kmod-harness.agent"
#define PROTOCOL_VERSION 1
/* The largest payload either side accepts, in bytes. */
#define MAX_PAYLOAD 0x100000u
#define MAX_WORKERS 64
#define MAX_JOBS 32
#define MAX_CALL_ARGS 6

struct frame {
	__u32 size;	/* payload bytes behind this header */
	__u32 epoch;	/* of the restore; an answer carries its request's */
	__u32 tag;	/* of the request; an answer and a job's events carry it */
	__u16 worker;	/* which worker a CALLS or STOP is for */
	__u16 kind;	/* enum kind */
};

enum kind {
	KIND_HELLO = 1,	/* -> u32 version, u32 pid; also sent when the port is opened, tag 0 */
	KIND_START = 2,	/* a worker -> u32 worker, u32 pid */
	KIND_STOP = 3,	/* a worker -> KIND_DIED when it is reaped */
	KIND_CALLS = 4,	/* u16 count, u16 flags, calls -> results; see calls.c */
	KIND_RUN = 5,	/* u16 argc, u16 envc, strings: stdin, cwd, argv, env -> u32 pid */
	KIND_SIGNAL = 6,	/* u32 tag of the job, u32 signal -> empty; to its process group */
	/* only from the agent */
	KIND_DIED = 16,	/* s32 wait status of a worker, which was busy with this tag */
	KIND_STDOUT = 17,	/* bytes of a job */
	KIND_STDERR = 18,
	KIND_EXIT = 19,	/* s32 wait status of a job; its last event */
	KIND_ERROR = 20,	/* s32 errno: the request was not carried out */
};

/* KIND_CALLS flags */
#define CALLS_STOP_ON_ERROR 1

/* How an argument of a call is given; behind each the data named. */
enum argument {
	ARG_WORD = 0,	/* u64 */
	ARG_IN = 1,	/* u32 size, bytes: passes their address */
	ARG_OUT = 2,	/* u32 size: passes a zeroed buffer, returned whole */
	ARG_OUT_RESULT = 3,	/* the same, returned up to the call's result */
	ARG_IN_OUT = 4,	/* u32 size, bytes: passes their address, returned whole */
	ARG_RESULT = 5,	/* u16 index: the result of an earlier call of this frame */
};

/* Calls that are not the kernel's. */
#define CALL_PEEK 0xf001	/* address, out: copies from the worker's memory */
#define CALL_POKE 0xf002	/* address, in: copies to it */
#define CALL_NAMES 0xf003	/* path, depth, name, out: the names below, see names.h */

#endif
