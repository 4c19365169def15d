"""Files of proc and sysfs, whole and in one round trip, as part of a batch or by themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .process import c_path, check
from .protocol import Call, OutUpToResult, Result, ResultOf
from .syscalls import AT_FDCWD, NUMBERS

#: One read gives at most a page (fs/seq_file.c, fs/kernfs/file.c, 6.1); so many take in most files.
_PAGE = 4096
_READS = 3


def calls_that_read(path: str, first: int = 0) -> list[Call]:
    """Returns calls that open, read and close a file; in their batch the first is number `first`."""
    opened = ResultOf(first)
    return [
        Call(NUMBERS["openat"], (AT_FDCWD, c_path(path), os.O_RDONLY, 0)),
        *[Call(NUMBERS["read"], (opened, OutUpToResult(_PAGE), _PAGE))] * _READS,
        Call(NUMBERS["close"], (opened,)),
    ]


def content(results: Sequence[Result], path: str) -> tuple[bytes, bool]:
    """Returns what these calls read, and whether it is the whole file. Raises OSError."""
    check(results[0], path)
    parts = [check(result, path).buffers[0] for result in results[1:-1]]
    return b"".join(parts), not parts[-1]
