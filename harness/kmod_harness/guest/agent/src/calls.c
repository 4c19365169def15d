// SPDX-License-Identifier: MIT
/*
 * A worker's only work: the calls of one frame, one after the other. Results
 * are s64 each, followed by the returned buffers (u32 size, bytes) in the
 * order of the arguments. Input buffers are used where they lie in the frame.
 */
#include "calls.h"
#include "names.h"
#include "protocol.h"
#include "sys.h"

struct cursor {
	unsigned char *at;
	unsigned char *end;
	bool overrun;
};

struct returned {
	unsigned char *data;
	__u32 size;
	bool up_to_result;
};

static void *take(struct cursor *cursor, unsigned long size)
{
	void *data = cursor->at;

	if (cursor->overrun || (unsigned long)(cursor->end - cursor->at) < size) {
		cursor->overrun = 1;
		return 0;
	}
	cursor->at += size;
	return data;
}

static unsigned long take_number(struct cursor *cursor, unsigned long size)
{
	void *data = take(cursor, size);
	unsigned long value = 0;

	if (data)
		memcpy(&value, data, size);
	return value;
}

/* Reserves room for what goes out, so that the answer always fits a frame. */
static void *reserve(struct cursor *arena, unsigned long size)
{
	return take(arena, (size + 15) & ~15ul);
}

static unsigned long take_argument(struct cursor *in, struct cursor *arena,
				   const __s64 *results, unsigned long count,
				   struct returned *returned)
{
	unsigned long kind = take_number(in, 1), value, size;
	void *data;

	switch (kind) {
	case ARG_WORD:
		return take_number(in, 8);
	case ARG_RESULT:
		value = take_number(in, 2);
		if (value >= count)
			in->overrun = 1;
		return value < count ? results[value] : 0;
	case ARG_IN:
		size = take_number(in, 4);
		return (unsigned long)take(in, size);
	case ARG_IN_OUT:
		size = take_number(in, 4);
		data = take(in, size);
		break;
	case ARG_OUT:
	case ARG_OUT_RESULT:
		size = take_number(in, 4);
		data = reserve(arena, size);
		if (data)
			memset(data, 0, size);
		break;
	default:
		in->overrun = 1;
		return 0;
	}
	returned->data = data;
	returned->size = size;
	returned->up_to_result = kind == ARG_OUT_RESULT;
	return (unsigned long)data;
}

static __s64 carry_out(unsigned long nr, const unsigned long *args, const struct returned *returned)
{
	switch (nr) {
	case CALL_PEEK:
		memcpy(returned[1].data, (void *)args[0], returned[1].size);
		return returned[1].size;
	case CALL_POKE:
		memcpy((void *)args[0], (void *)args[1], args[2]);
		return args[2];
	case CALL_NAMES:
		if (!args[0] || !args[2] || !returned[3].data)
			return -EINVAL;
		return list_names((const char *)args[0], args[1], (const char *)args[2],
				  (char *)returned[3].data, returned[3].size);
	default:
		return sys(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
	}
}

static bool give(struct cursor *out, const void *data, unsigned long size)
{
	void *to = take(out, size);

	if (to)
		memcpy(to, data, size);
	return to;
}

static void give_returned(struct cursor *out, const struct returned *returned, __s64 result)
{
	__u32 size = returned->size;

	if (!returned->data)
		return;
	if (returned->up_to_result)
		size = result < 0 ? 0 : result < size ? result : size;
	if (give(out, &size, sizeof(size)))
		give(out, returned->data, size);
}

long carry_out_calls(unsigned char *request, unsigned long size,
		     unsigned char *answer, unsigned long room,
		     unsigned char *scratch, unsigned long scratch_size)
{
	static __s64 results[MAX_CALLS];
	struct cursor in = { request, request + size, 0 };
	struct cursor out = { answer, answer + room, 0 };
	unsigned long count = take_number(&in, 2), flags = take_number(&in, 2), done;

	if (count > MAX_CALLS)
		return -E2BIG;
	for (done = 0; done < count; done++) {
		struct cursor arena = { scratch, scratch + scratch_size, 0 };
		struct returned returned[MAX_CALL_ARGS] = { };
		unsigned long args[MAX_CALL_ARGS] = { }, nr = take_number(&in, 2), i;
		unsigned long given = take_number(&in, 1);

		if (given > MAX_CALL_ARGS)
			return -EINVAL;
		for (i = 0; i < given; i++)
			args[i] = take_argument(&in, &arena, results, done, &returned[i]);
		if (in.overrun || arena.overrun)
			return -EINVAL;
		results[done] = carry_out(nr, args, returned);
		give(&out, &results[done], sizeof(results[done]));
		for (i = 0; i < given; i++)
			give_returned(&out, &returned[i], results[done]);
		if (out.overrun)
			return -EMSGSIZE;
		if ((flags & CALLS_STOP_ON_ERROR) && results[done] < 0 && results[done] > -4096)
			break;
	}
	return out.at - answer;
}
