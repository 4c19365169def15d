// SPDX-License-Identifier: MIT
/*
 * Names below a directory, so that what a kernel lists is seen in one round
 * trip: before a module is loaded, and after it is gone.
 */
#include "names.h"

#define MAX_DEPTH 8
#define MAX_PATH 512

struct entry {
	__u64 inode;
	__s64 offset;
	__u16 size;
	__u8 type;
	char name[];
};

struct walk {
	char path[MAX_PATH];	/* from the root of the walk */
	const char *skip;
	char *out;
	unsigned long room;
	unsigned long used;
	unsigned long depth;
};

static char letter_of(__u8 type)
{
	switch (type) {	/* DT_*, include/linux/fs_types.h */
	case 2:
		return 'c';
	case 4:
		return 'd';
	case 6:
		return 'b';
	case 10:
		return 'l';
	default:
		return '-';
	}
}

static bool is_named(const char *name, const char *other)
{
	return strlen(name) == strlen(other) && !memcmp(name, other, strlen(name));
}

static bool add_line(struct walk *walk, char letter, unsigned long length)
{
	if (walk->room - walk->used < length + 2)
		return 0;
	walk->out[walk->used++] = letter;
	memcpy(walk->out + walk->used, walk->path, length);
	walk->used += length;
	walk->out[walk->used++] = '\n';
	return 1;
}

static long list_open(struct walk *walk, int directory, unsigned long at, unsigned long level);

static long list_entry(struct walk *walk, int directory, const struct entry *entry,
		       unsigned long at, unsigned long level)
{
	unsigned long size = strlen(entry->name);
	long result = 0;
	int below;

	if (is_named(entry->name, ".") || is_named(entry->name, ".."))
		return 0;
	if (at + size + 2 > MAX_PATH)
		return 0;
	memcpy(walk->path + at, entry->name, size);
	if (!add_line(walk, letter_of(entry->type), at + size))
		return -EMSGSIZE;
	if (entry->type != 4 || level + 1 >= walk->depth || is_named(entry->name, walk->skip))
		return 0;
	below = SYS4(__NR_openat, directory, entry->name,
		     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
	/* it may be gone by now, or be forbidden */
	if (below < 0)
		return 0;
	walk->path[at + size] = '/';
	result = list_open(walk, below, at + size + 1, level + 1);
	close_file(below);
	return result;
}

static long list_open(struct walk *walk, int directory, unsigned long at, unsigned long level)
{
	char buffer[2048];
	long got, next, result;

	while ((got = SYS3(__NR_getdents64, directory, buffer, sizeof(buffer))) > 0) {
		for (next = 0; next < got;) {
			const struct entry *entry = (const struct entry *)(buffer + next);

			next += entry->size;
			result = list_entry(walk, directory, entry, at, level);
			if (result)
				return result;
		}
	}
	/* a directory that vanishes while it is read has no more names */
	return 0;
}

long list_names(const char *path, unsigned long depth, const char *skip,
		char *out, unsigned long room)
{
	static struct walk walk;
	int directory = open_file(path, O_RDONLY | O_DIRECTORY);
	long result;

	if (directory < 0)
		return directory;
	walk.skip = skip;
	walk.out = out;
	walk.room = room;
	walk.used = 0;
	walk.depth = depth < MAX_DEPTH ? depth : MAX_DEPTH;
	result = list_open(&walk, directory, 0, 0);
	close_file(directory);
	return result ? result : (long)walk.used;
}
