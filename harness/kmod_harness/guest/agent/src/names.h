/* SPDX-License-Identifier: MIT */
#ifndef KMOD_HARNESS_NAMES_H
#define KMOD_HARNESS_NAMES_H

#include "sys.h"

/*
 * Writes the names below the directory @path to @out, a line each: a letter
 * for the type (d, c, b, l, or - for any other), the path from there, and a
 * newline. Goes down @depth levels, not through links, and not into
 * directories called @skip. Returns the bytes written or a negative errno:
 * -EMSGSIZE when they do not fit @room.
 */
long list_names(const char *path, unsigned long depth, const char *skip,
		char *out, unsigned long room);

#endif
