"""A file of the guest that looks like one of ours: the same calls, the guest's errnos."""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from kmod_harness.guest.agent.calls import CALL_SECONDS, Pending, check
from kmod_harness.guest.agent.protocol import CHUNK, Call, InOut, Out, OutUpToResult, Result
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.agent.syscalls import parse_entries

if TYPE_CHECKING:
    from typing_extensions import Buffer


class FileOwner(Protocol):
    """The process that an open file belongs to, as far as the file needs it."""

    @property
    def can_be_called(self) -> bool: ...

    def begin(self, calls: Sequence[Call]) -> Pending: ...

    def call(self, name: str, *arguments: int, about: str = "") -> Result: ...

    def memory(self, size: int) -> AbstractContextManager[int]: ...

    def peek(self, address: int, size: int) -> bytes: ...

    def poke(self, address: int, data: bytes) -> None: ...


class GuestFile:
    """An open file descriptor of a guest's process; a context manager that closes it."""

    def __init__(self, process: FileOwner, fd: int, path: str) -> None:
        self.process = process
        self.fd = fd
        self.path = path
        self._open = True
        #: address -> size of what `mmap` mapped and nobody unmapped
        self._mapped: dict[int, int] = {}

    def __repr__(self) -> str:
        state = "" if self._open else ", closed"
        return f"<GuestFile {self.path!r}: fd {self.fd}{state}, of {self.process!r}>"

    def __enter__(self) -> GuestFile:
        return self

    def __exit__(self, *exc: object) -> None:
        # a process that is dead or blocked closes nothing; the reason is on its way out already
        if self._open and self.process.can_be_called:
            self.close()

    def close(self) -> None:
        """Closes it and unmaps what `mmap` mapped, which would keep the module in use.

        A second call does nothing, as with Python's own files.
        """
        if self._open:
            self._open = False
            for address in list(self._mapped):
                self.munmap(address)
            self.process.call("close", self.fd, about=self.path)

    def read(self, size: int) -> bytes:
        """One read(2) of at most `size` bytes: short and empty reads as the driver gives them."""
        if size > CHUNK:
            with self.process.memory(size) as address:
                return self.process.peek(address, self.read_at(address, size))
        return check(self._single("read", self.fd, OutUpToResult(size), size), self.path).buffers[0]

    def read_async(self, size: int) -> Pending:
        """Starts a read of at most 512 KiB that may block; `result(timeout=...)` gives its bytes."""
        return self._begin("read", self.fd, OutUpToResult(size), size)

    def write(self, data: bytes) -> int:
        """One write(2): how many bytes the driver took."""
        if len(data) > CHUNK:
            with self.process.memory(len(data)) as address:
                self.process.poke(address, data)
                return self.write_at(address, len(data))
        return check(self._single("write", self.fd, data, len(data)), self.path).value

    def write_async(self, data: bytes) -> Pending:
        """Starts a write of at most 512 KiB that may block; `result(timeout=...)` gives the count."""
        return self._begin("write", self.fd, data, len(data))

    def write_all(self, data: bytes) -> None:
        """Writes until all is taken, in chunks that fit a frame."""
        view = memoryview(data)
        while view:
            view = view[self.write(bytes(view[:CHUNK])) :]

    def read_at(self, address: int, size: int) -> int:
        """read(2) to an address of the process, good or bad; the count. Raises OSError (EFAULT)."""
        return check(self._single("read", self.fd, address, size), self.path).value

    def write_at(self, address: int, size: int) -> int:
        """write(2) from an address of the process, good or bad; the count. Raises OSError (EFAULT)."""
        return check(self._single("write", self.fd, address, size), self.path).value

    def lseek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return check(self._single("lseek", self.fd, offset, whence), self.path).value

    def ioctl(self, request: int, argument: int | bytes | InOut | Out | Buffer = 0) -> bytes | int:
        """ioctl(2): the changed buffer when the argument is one that comes back, else the value.

        A buffer that can be written (bytearray, array, ctypes.Structure) is changed in place, as fcntl.ioctl
        does it, and the value returned. Raises OSError with the guest's errno, TypeError for no buffer.
        """
        if isinstance(argument, int | bytes | InOut | Out):
            result = check(self._single("ioctl", self.fd, request, argument), self.path)
            return result.buffers[0] if result.buffers else result.value
        view = memoryview(argument).cast("B")
        result = check(self._single("ioctl", self.fd, request, InOut(bytes(view))), self.path)
        if not view.readonly:
            view[:] = result.buffers[0]
        return result.value

    def mmap(self, size: int, protection: int = 3, flags: int = 1, offset: int = 0) -> int:
        """mmap(2): the address in the process (flags 1 is MAP_SHARED). `process.peek` reads there.

        It is mapped until `munmap` or `close`.
        """
        result = check(self._single("mmap", 0, size, protection, flags, self.fd, offset), self.path)
        self._mapped[result.value] = size
        return result.value

    def munmap(self, address: int) -> None:
        """munmap(2) of what `mmap` returned. Raises KeyError for anything else."""
        self.process.call("munmap", address, self._mapped.pop(address), about=self.path)

    def poll(self, events: int = select.POLLIN | select.POLLOUT, timeout: float = 0.0) -> int:
        """poll(2): the events that are there after at most `timeout` seconds, 0 for none."""
        argument = InOut(struct.pack("<ihh", self.fd, events, 0))
        pending = self._begin("poll", argument, 1, int(timeout * 1000))
        result = check(pending.results(timeout + CALL_SECONDS * 4)[0], self.path)
        (revents,) = struct.unpack_from("<h", result.buffers[0], 6)
        return int(revents)

    def getdents(self) -> list[str]:
        """Returns the next names of a directory, [] at its end (getdents64(2))."""
        data = check(self._single("getdents64", self.fd, OutUpToResult(32768), 32768), self.path).buffers[0]
        return [entry.name for entry in parse_entries(data)]

    def _begin(self, name: str, *arguments: int | bytes | Out | OutUpToResult | InOut) -> Pending:
        return self.process.begin([Call(NUMBERS[name], tuple(arguments))])

    def _single(self, name: str, *arguments: int | bytes | Out | OutUpToResult | InOut) -> Result:
        return self._begin(name, *arguments).results()[0]
