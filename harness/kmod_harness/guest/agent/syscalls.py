"""The system calls of x86-64 by name, and the layout of what some of them return.

Numbers: Linux arch/x86/entry/syscalls/syscall_64.tbl, which never changes a number.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from kmod_harness.guest.agent.protocol import NAMES, PEEK, POKE

#: openat(2) and friends: relative to the working directory.
AT_FDCWD = -100

NUMBERS = {
    "read": 0,
    "write": 1,
    "open": 2,
    "close": 3,
    "stat": 4,
    "fstat": 5,
    "lstat": 6,
    "poll": 7,
    "lseek": 8,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigaction": 13,
    "ioctl": 16,
    "pread64": 17,
    "pwrite64": 18,
    "readv": 19,
    "writev": 20,
    "access": 21,
    "pipe": 22,
    "select": 23,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "dup": 32,
    "dup2": 33,
    "nanosleep": 35,
    "getpid": 39,
    "socket": 41,
    "connect": 42,
    "fork": 57,
    "kill": 62,
    "uname": 63,
    "fcntl": 72,
    "fsync": 74,
    "truncate": 76,
    "ftruncate": 77,
    "getcwd": 79,
    "chdir": 80,
    "rename": 82,
    "mkdir": 83,
    "rmdir": 84,
    "creat": 85,
    "link": 86,
    "unlink": 87,
    "symlink": 88,
    "readlink": 89,
    "chmod": 90,
    "chown": 92,
    "umask": 95,
    "sysinfo": 99,
    "getuid": 102,
    "getgid": 104,
    "setuid": 105,
    "setgid": 106,
    "setgroups": 116,
    "setresuid": 117,
    "setresgid": 119,
    "capget": 125,
    "capset": 126,
    "mknod": 133,
    "prctl": 157,
    "sync": 162,
    "mount": 165,
    "umount2": 166,
    "reboot": 169,
    "sethostname": 170,
    "init_module": 175,
    "delete_module": 176,
    "gettid": 186,
    "sched_setaffinity": 203,
    "getdents64": 217,
    "clock_settime": 227,
    "clock_gettime": 228,
    "tgkill": 234,
    "openat": 257,
    "mkdirat": 258,
    "mknodat": 259,
    "unlinkat": 263,
    "faccessat": 269,
    "ppoll": 271,
    "unshare": 272,
    "finit_module": 313,
    "getrandom": 318,
    "memfd_create": 319,
}

_NAMES = {number: name for name, number in NUMBERS.items()} | {PEEK: "peek", POKE: "poke", NAMES: "names"}


def name_of(number: int) -> str:
    """Returns the call's name, or its number for one that is not in the table."""
    return _NAMES.get(number, f"system call {number}")


def parse_stat(data: bytes) -> os.stat_result:
    """Returns the fields of stat(2): struct stat, 144 bytes (Linux arch/x86/include/uapi/asm/stat.h)."""
    dev, ino, nlink, mode, uid, gid = struct.unpack_from("<QQQIII", data)
    (size,) = struct.unpack_from("<q", data, 48)
    atime, mtime, ctime = (struct.unpack_from("<q", data, at)[0] for at in (72, 88, 104))
    return os.stat_result((mode, ino, dev, nlink, uid, gid, size, atime, mtime, ctime))


class DirectoryEntry(NamedTuple):
    """A name in a directory; kind is its DT_ number (Linux include/linux/fs_types.h)."""

    name: str
    kind: int

    @property
    def is_device(self) -> bool:
        return self.kind in (2, 6)


def parse_entries(data: bytes) -> list[DirectoryEntry]:
    """Returns the entries of getdents64(2): struct linux_dirent64, one behind the other."""
    entries, at = [], 0
    while at + 19 < len(data):
        size, kind = struct.unpack_from("<HB", data, at + 16)
        entries.append(DirectoryEntry(os.fsdecode(data[at + 19 : at + size].split(b"\0", 1)[0]), kind))
        at += max(size, 19)
    return entries
