"""Files of proc and sysfs, whole and in one round trip, as part of a batch or by themselves."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Protocol

from kmod_harness.guest.agent.calls import c_path, check, os_error
from kmod_harness.guest.agent.protocol import Call, OutUpToResult, Result, ResultOf
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.agent.syscalls import AT_FDCWD
from kmod_harness.guest.files.open_file import GuestFile

#: One read gives at most a page (fs/seq_file.c, fs/kernfs/file.c, 6.1); so many take in most files.
_PAGE = 4096
_READS = 3
#: So many go in one round trip where those did not.
_MANY_READS = 32


class Reader(Protocol):
    """The process that reads."""

    def batch(self, calls: Sequence[Call]) -> list[Result]: ...

    def open(self, path: str) -> GuestFile: ...


def calls_that_read(path: str, first: int = 0) -> list[Call]:
    """Returns calls that open, read and close a file; in their batch the first is number `first`."""
    opened = ResultOf(first)
    return [
        Call(NUMBERS["openat"], (AT_FDCWD, c_path(path), os.O_RDONLY, 0)),
        *[Call(NUMBERS["read"], (opened, OutUpToResult(_PAGE), _PAGE))] * _READS,
        Call(NUMBERS["close"], (opened,)),
    ]


def content(results: Sequence[Result], path: str) -> tuple[bytes, bool]:
    """Returns the bytes that these calls read, and whether they are the whole file. Raises OSError."""
    check(results[0], path)
    parts = [check(result, path).buffers[0] for result in results[1:-1]]
    return b"".join(parts), not parts[-1]


def read_whole(process: Reader, path: str, limit: int) -> bytes:
    """Returns a file of any length; a long one is opened twice. Raises OSError, EFBIG."""
    whole, complete = content(process.batch(calls_that_read(path)), path)
    if complete:
        return whole
    data = bytearray()
    with process.open(path) as file:
        reads = [Call(NUMBERS["read"], (file.fd, OutUpToResult(_PAGE), _PAGE))] * _MANY_READS
        while True:
            results = [check(result, path) for result in process.batch(reads)]
            data += b"".join(result.buffers[0] for result in results)
            if len(data) > limit:
                raise os_error(errno.EFBIG, path)
            if results[-1].value == 0:
                return bytes(data)
