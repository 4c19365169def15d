/* SPDX-License-Identifier: MIT */
#ifndef KMOD_HARNESS_INIT_H
#define KMOD_HARNESS_INIT_H

#include "sys.h"

/* Process 1: what the channels need, the agent beside it, then the image's own init. */
noreturn void run_init(char **argv, char **envp);
/* The agent: answers the host until the machine ends. */
noreturn void run_agent(void);

#endif
