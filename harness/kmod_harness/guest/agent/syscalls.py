"""The system calls of x86-64 by name, and the layout of what some of them return.

Numbers: Linux arch/x86/entry/syscalls/syscall_64.tbl, which never changes a number.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from kmod_harness.guest.agent.protocol import NAMES, PEEK, POKE
from kmod_harness.guest.agent.syscall_table import NUMBERS

#: openat(2) and friends: relative to the working directory.
AT_FDCWD = -100

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
