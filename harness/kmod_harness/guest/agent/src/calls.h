/* SPDX-License-Identifier: MIT */
#ifndef KMOD_HARNESS_CALLS_H
#define KMOD_HARNESS_CALLS_H

#include "sys.h"

/* The most calls one frame may hold. */
#define MAX_CALLS 4096

/*
 * Carries out the calls in @request and writes their results to @answer.
 * Output buffers lie in @scratch, anew for each call. Returns the answer's
 * size in bytes, or a negative errno when the frame is malformed.
 */
long carry_out_calls(unsigned char *request, unsigned long size,
		     unsigned char *answer, unsigned long room,
		     unsigned char *scratch, unsigned long scratch_size);

#endif
