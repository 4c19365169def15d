/* SPDX-License-Identifier: MIT */
#ifndef KMOD_HARNESS_PORT_H
#define KMOD_HARNESS_PORT_H

#include "protocol.h"
#include "sys.h"

/* Waits until the kernel shows the port, opens it; the fd, or a negative errno. */
int open_port(void);
/* Reads exactly @size bytes; false when the host went away. */
bool read_port(int port, void *to, unsigned long size);
/* Sends one frame that answers @request. */
void send_frame(int port, const struct frame *request, unsigned long kind,
		const void *payload, unsigned long size);
void send_error(int port, const struct frame *request, long error);

#endif
