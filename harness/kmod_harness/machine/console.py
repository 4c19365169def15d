"""ttyS0's log file, followed as it grows without a client on the port."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

from kmod_harness.klog.reading import for_reading

_IN_MODIFY = 0x2
#: A flooding guest costs memory in steps of this, not all at once.
_READ_BYTES = 1 << 20


class ConsoleLog:
    """Follows the file QEMU writes (`logfile=` of the console's chardev).

    `fileno()` is an inotify descriptor, readable when the file has grown. `from_end` leaves out what it
    holds already.
    """

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self.path = path
        path.touch(mode=0o600)
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed in close()
        if from_end:
            self._file.seek(0, os.SEEK_END)
        self._inotify, self._watch = _watch_for_writes(path)

    def fileno(self) -> int:
        return self._inotify

    def read_new(self) -> bytes:
        """Returns the bytes written since the last call, b"" for none."""
        # emptied first: what is written after this wakes the next wait again
        with contextlib.suppress(BlockingIOError):
            os.read(self._inotify, 4096)
        chunks = []
        while chunk := self._file.read(_READ_BYTES):
            chunks.append(chunk)
        return b"".join(chunks)

    def tail(self, lines: int = 60) -> str:
        """Returns the last lines of the whole log, for a person to read."""
        size = self.path.stat().st_size
        with open(self.path, "rb") as file:
            file.seek(max(0, size - 32768))
            text = file.read().decode(errors="replace").replace("\r", "")
        return "\n".join(for_reading(text.splitlines())[-lines:])

    def unwatch(self) -> None:
        """Ends the wait for growth; `close` then need not wait for what the kernel tidies up meanwhile.

        That takes it 8 to 16 ms otherwise (Linux fs/notify/mark.c, fsnotify_wait_marks_destroyed).
        """
        ctypes.CDLL(None).inotify_rm_watch(self._inotify, self._watch)

    def close(self) -> None:
        self._file.close()
        os.close(self._inotify)


def _watch_for_writes(path: Path) -> tuple[int, int]:
    """Returns an inotify descriptor and its watch of the file (inotify(7); Python has none)."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    watch: int = -1 if fd < 0 else libc.inotify_add_watch(fd, os.fsencode(path), _IN_MODIFY)
    if watch < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"inotify: {os.strerror(number)}", str(path))
    return fd, watch
