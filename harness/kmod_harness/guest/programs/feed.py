"""The stdin of this machine on its way to a program of the guest: what comes is passed on as it comes."""

from __future__ import annotations

import contextlib
import os
import stat

from kmod_harness.errors import GuestHang
from kmod_harness.guest.agent.calls import Pending, c_path
from kmod_harness.guest.agent.protocol import Call
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.process import Process

#: A FIFO of the guest, which the program has as its stdin.
PATH = "/kmod-harness/stdin"
#: Half of what a FIFO holds: at most so much and what is in it is taken of a stdin that nobody reads.
_CHUNK = 1 << 15


def has_input(fd: int) -> bool:
    """Whether somebody gives input on this descriptor: a pipe, a file or a socket, no terminal."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


class Feed:
    """Passes on what a descriptor of this machine gives; a process of the guest, which it ends, writes it."""

    def __init__(self, process: Process, source: int) -> None:
        self._process = process
        self._source = source
        self._pending: Pending | None = None
        self._has_ended = self._has_reader = False
        with contextlib.suppress(FileNotFoundError):
            process.unlink(PATH)
        process.call("mknod", c_path(PATH), stat.S_IFIFO | 0o600, 0, about=PATH)
        # O_RDWR: an open for writing alone would wait for the program
        self._file = process.open(PATH, os.O_RDWR)

    def sources(self) -> list[int]:
        """Returns the descriptors whose bytes are wanted now; ends the program's input with its source."""
        is_free = self._pending is None or self._pending.done()
        if self._has_ended and self._has_reader and is_free:
            self.close()
        return [self._source] if is_free and not self._has_ended and self._process.is_alive else []

    def note_reader(self) -> None:
        """Notes that the program has opened its stdin: from here on it may end."""
        self._has_reader = True

    def forward(self) -> None:
        """Passes on what is there; the descriptor has something, or has ended."""
        try:
            data = os.read(self._source, _CHUNK)
        except OSError:
            data = b""
        if not data:
            self._has_ended = True
            return
        write = Call(NUMBERS["write"], (self._file.fd, data, len(data)))
        self._pending = self._process.begin([write])

    def close(self) -> None:
        """Ends the process that writes, so that the program meets the end of its input."""
        with contextlib.suppress(GuestHang):
            self._process.kill()
