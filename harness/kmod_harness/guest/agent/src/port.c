// SPDX-License-Identifier: MIT
#include "port.h"

#define PORTS "/sys/class/virtio-ports/"
/* about 3 s: by then a port that comes at all has come; the host's advice is told by this line */
#define PATIENT_TRIES 1000

struct entry {
	__u64 inode;
	__s64 offset;
	__u16 size;
	__u8 type;
	char name[];
};

static bool is_our_port(const char *name)
{
	char path[128] = PORTS, text[64];
	unsigned long at = sizeof(PORTS) - 1, size = strlen(name);
	long got;
	int fd;

	if (size > 32)
		return 0;
	memcpy(path + at, name, size);
	memcpy(path + at + size, "/name", 6);
	fd = open_file(path, O_RDONLY);
	if (fd < 0)
		return 0;
	got = SYS3(__NR_read, fd, text, sizeof(text));
	close_file(fd);
	size = sizeof(PORT_NAME) - 1;
	return got > (long)size && !memcmp(text, PORT_NAME "\n", size + 1);
}

static int find_port(void)
{
	char buffer[1024], path[64] = "/dev/";
	int fd = open_file(PORTS, O_RDONLY | O_DIRECTORY), port = -ENOENT;
	long got, at;

	if (fd < 0)
		return fd;
	while (port < 0 && (got = SYS3(__NR_getdents64, fd, buffer, sizeof(buffer))) > 0) {
		for (at = 0; at < got && port < 0;) {
			struct entry *entry = (struct entry *)(buffer + at);

			at += entry->size;
			if (!is_our_port(entry->name))
				continue;
			memcpy(path + 5, entry->name, strlen(entry->name) + 1);
			port = open_file(path, O_RDWR);
		}
	}
	close_file(fd);
	return port;
}

int open_port(void)
{
	int tries, port = -ENOENT;

	/*
	 * The host announces ports by a message after the driver is up. Kernels
	 * without netlink or inotify run this too, so it looks every 2 ms, 20 s.
	 */
	for (tries = 0; tries < 10000; tries++) {
		port = find_port();
		if (port >= 0)
			return port;
		if (tries == PATIENT_TRIES)
			log_line("no virtio-serial port from the host yet", "", port);
		sleep_ms(2);
	}
	return port;
}

bool read_port(int port, void *to, unsigned long size)
{
	char *at = to;

	while (size) {
		long got = SYS3(__NR_read, port, at, size);

		if (got == -EINTR)
			continue;
		if (got <= 0)
			return 0;
		at += got;
		size -= got;
	}
	return 1;
}

void send_frame(int port, const struct frame *request, unsigned long kind,
		const void *payload, unsigned long size)
{
	struct frame frame = *request;
	char small[128];

	frame.kind = kind;
	frame.size = size;
	/* one write is one virtio buffer: worth the copy for the many small answers */
	if (size <= sizeof(small) - sizeof(frame)) {
		memcpy(small, &frame, sizeof(frame));
		memcpy(small + sizeof(frame), payload, size);
		write_all(port, small, sizeof(frame) + size);
		return;
	}
	if (write_all(port, &frame, sizeof(frame)))
		write_all(port, payload, size);
}

void send_error(int port, const struct frame *request, long error)
{
	__s32 number = error < 0 ? -error : error;

	send_frame(port, request, KIND_ERROR, &number, sizeof(number));
}
