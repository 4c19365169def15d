"""A process in the guest that makes system calls for us: exact errnos, bytes, bad pointers."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import struct
from collections.abc import Iterator, Sequence

from kmod_harness.errors import Misuse, ProcessKilled
from kmod_harness.guest.agent import syscalls
from kmod_harness.guest.agent.calls import CALL_SECONDS, Pending, c_path, check, os_error, signal_name
from kmod_harness.guest.agent.channel import AgentChannel
from kmod_harness.guest.agent.protocol import (
    CHUNK,
    PEEK,
    POKE,
    Call,
    Frame,
    InOut,
    Kind,
    Out,
    ProtocolError,
    Result,
    ResultOf,
    decode_results,
    encode_calls,
)
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.files.open_file import GuestFile
from kmod_harness.guest.files.proc_files import read_whole
from kmod_harness.machine.deadline import Deadline
from kmod_harness.machine.machine import Machine

#: Seconds a SIGKILL may take (times 4 under emulation): one that waits in state D never dies.
KILL_SECONDS = 2.0


class Process:
    """One process of the guest, with its own files and memory. A context manager that ends it."""

    def __init__(
        self, machine: Machine, channel: AgentChannel, existing: tuple[int, int] | None = None
    ) -> None:
        self._machine = machine
        self._channel = channel
        self._alive = True
        self._pending: Pending | None = None
        #: the agent's number for it, and its pid in the guest
        self.number, self.pid = existing or self._start()
        self._life = channel.lives.get(self.number, 0)

    def _start(self) -> tuple[int, int]:
        deadline = self._machine.deadline("starting a process in the guest", CALL_SECONDS)
        frame = self._channel.ask(Kind.START, deadline=deadline)
        if frame.kind == Kind.ERROR:
            raise os_error(struct.unpack("<i", frame.payload)[0], "the guest starts no more processes")
        number, pid = struct.unpack("<II", frame.payload)
        return number, pid

    def __repr__(self) -> str:
        return f"<Process {self.pid} of the guest: {'alive' if self.is_alive else 'dead'}>"

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc: object) -> None:
        # on a machine that has ended there is nothing to end, and what ended it was told
        if not self._machine.watch.has_ended:
            self.kill()

    @property
    def is_alive(self) -> bool:
        return self._alive and (self.number, self._life) not in self._channel.deaths

    @property
    def is_busy(self) -> bool:
        """True while calls are under way, those included whose deadline passed."""
        if self._pending is None:
            return False
        self._channel.take_in()
        return not self._pending.done()

    @property
    def can_be_called(self) -> bool:
        """True when it and its machine live and it is not busy."""
        return not self._machine.watch.has_ended and self.is_alive and not self.is_busy

    def kill(self) -> None:
        """Ends the process by SIGKILL and waits until it is gone; a dead one stays dead.

        Raises GuestHang for one that no signal reaches (state D).
        """
        if not self.is_alive:
            return
        deadline = self._machine.deadline("ending a process in the guest", KILL_SECONDS)
        self._channel.ask(Kind.STOP, worker=self.number, deadline=deadline)
        self._alive = False

    def begin(self, calls: Sequence[Call], *, stop_on_error: bool = False) -> Pending:
        """Starts the calls and returns at once: another process may act meanwhile.

        Raises ProcessKilled when it is dead, Misuse when it is busy with earlier calls.
        """
        if not self.is_alive:
            raise self._killed(calls)
        if self.is_busy:
            raise Misuse(
                f"process {self.pid} of the guest is still busy with an earlier call",
                advice="guest.process() gives another one, guest.open() uses one that is free",
            )
        payload = encode_calls(calls, stop_on_error=stop_on_error)
        deadline = self._deadline(calls, None)
        tag = self._channel.reserve()
        # before it is sent: what a deadline cuts off reaches the process later, which is busy then
        self._pending = Pending(self, tag, calls)
        self._channel.send(Kind.CALLS, payload, worker=self.number, deadline=deadline, tag=tag)
        return self._pending

    def batch(self, calls: Sequence[Call], *, stop_on_error: bool = False) -> list[Result]:
        """Returns the results of many calls made in one round trip; errors are in the results."""
        return self.begin(calls, stop_on_error=stop_on_error).results()

    def syscall(
        self, number: int, *arguments: int | bytes | Out | InOut, timeout: float | None = None
    ) -> Result:
        """Returns the result of any system call, errors included."""
        return self.begin([Call(number, tuple(arguments))]).results(timeout)[0]

    def call(self, name: str, *arguments: int | bytes | Out | InOut | ResultOf, about: str = "") -> Result:
        """Returns the result of the named call. Raises OSError with the guest's errno, Misuse for no call."""
        if name not in NUMBERS:
            import difflib  # lazy: for a mistake alone

            near = difflib.get_close_matches(name, NUMBERS, n=3)
            raise Misuse(
                f"x86-64 has no system call {name!r}",
                advice=f"did you mean {' or '.join(near)}?" if near else "process.syscall() takes a number",
            )
        (result,) = self.batch([Call(NUMBERS[name], tuple(arguments))])
        return check(result, about)

    # --- memory of the process itself

    def allocate(self, size: int, protection: int = 3) -> int:
        """Returns the address of `size` fresh bytes (mmap; protection 0 gives a PROT_NONE page)."""
        private_anonymous = 0x22
        result = self.call("mmap", 0, size, protection, private_anonymous, 0xFFFFFFFFFFFFFFFF, 0)
        return result.value

    @contextlib.contextmanager
    def memory(self, size: int) -> Iterator[int]:
        """Fresh memory of the process, given back at the end; yields its address."""
        address = self.allocate(size)
        try:
            yield address
        finally:
            if self.can_be_called:
                self.call("munmap", address, size)

    def peek(self, address: int, size: int) -> bytes:
        """Returns bytes of the process's memory; a bad address kills it (ProcessKilled)."""
        parts = []
        for at in range(0, size, CHUNK):
            call = Call(PEEK, (address + at, Out(min(CHUNK, size - at))))
            parts.append(self.batch([call])[0].buffers[0])
        return b"".join(parts)

    def poke(self, address: int, data: bytes) -> None:
        """Writes to the process's memory; a bad address kills it (ProcessKilled)."""
        for at in range(0, len(data), CHUNK):
            part = data[at : at + CHUNK]
            self.batch([Call(POKE, (address + at, part, len(part)))])

    # --- files

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o666) -> GuestFile:
        """Returns an open file of the guest. Raises OSError with the guest's errno and the path."""
        result = self.call("openat", syscalls.AT_FDCWD, c_path(path), flags, mode, about=path)
        return GuestFile(self, result.value, path)

    def read_file(self, path: str, limit: int = 64 << 20) -> bytes:
        """Returns a whole file of the guest, of any reported size (proc and sysfs say 0).

        Raises OSError, and EFBIG for more than `limit` bytes: the guest is not trusted.
        """
        parts: list[bytes] = []
        with self.open(path) as file:
            while part := file.read(CHUNK):
                parts.append(part)
                if sum(map(len, parts)) > limit:
                    raise os_error(errno.EFBIG, path)
        return b"".join(parts)

    def read_proc(self, path: str, limit: int = 64 << 20) -> bytes:
        """Returns a whole file of proc: as `read_file`, in a fraction of its time for a long one.

        proc gives a page a read (fs/seq_file.c, 6.1), so many reads go in one round trip. Some come
        after the end, and a long one is opened twice: not for a device, which might count them.
        """
        return read_whole(self, path, limit)

    def read_text(self, path: str) -> str:
        return self.read_file(path).decode(errors="replace")

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Writes a file in the guest, made anew. Raises OSError."""
        with self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode) as file:
            file.write_all(data)

    def exists(self, path: str) -> bool:
        return self.syscall(NUMBERS["faccessat"], syscalls.AT_FDCWD, c_path(path), 0).errno == 0

    def unlink(self, path: str) -> None:
        self.call("unlink", c_path(path), about=path)

    def mkdir(self, path: str, mode: int = 0o755) -> None:
        self.call("mkdir", c_path(path), mode, about=path)

    def make_directories(self, paths: Sequence[str]) -> None:
        """Makes directories in this order; one that exists is left as it is. Raises OSError."""
        calls = [Call(NUMBERS["mkdir"], (c_path(path), 0o755)) for path in paths]
        for path, result in zip(paths, self.batch(calls), strict=True):
            if result.errno != errno.EEXIST:
                check(result, path)

    def list_directory(self, path: str) -> list[str]:
        """Returns the names in a directory, sorted. Raises OSError."""
        names: list[str] = []
        with self.open(path, os.O_RDONLY | os.O_DIRECTORY) as directory:
            while entries := directory.getdents():
                names += entries
        return sorted(name for name in names if name not in (".", ".."))

    def stat(self, path: str, *, follow: bool = True) -> os.stat_result:
        """Returns mode, inode, device, links, owner, size and times. Raises OSError."""
        return syscalls.parse_stat(self._stat(path, follow))

    def device_number(self, path: str) -> tuple[int, int]:
        """Returns (major, minor) of a device node. Raises OSError."""
        (rdev,) = struct.unpack_from("<Q", self._stat(path, follow=True), 40)
        return os.major(rdev), os.minor(rdev)

    def _stat(self, path: str, follow: bool) -> bytes:
        return self.call("stat" if follow else "lstat", c_path(path), Out(144), about=path).buffers[0]

    def _deadline(self, calls: Sequence[Call], timeout: float | None) -> Deadline:
        what = _name(calls) or f"a batch of {len(calls)} calls"
        seconds = CALL_SECONDS if timeout is None else timeout
        return self._machine.deadline(
            f"{what} in the guest", seconds, exact=timeout is not None, of_a_call=True
        )

    def _decode(self, frame: Frame, calls: Sequence[Call]) -> list[Result]:
        if frame.kind == Kind.CALLS:
            return decode_results(frame.payload, calls)
        # ERROR: it was dead when the calls reached the agent; the death's own frame came before this one
        if frame.kind == Kind.DIED or not self.is_alive:
            raise self._killed(calls)
        if frame.kind != Kind.ERROR:
            raise ProtocolError(f"frame of kind {frame.kind} answers calls")
        # not an OSError: this errno is the agent's, and a caller would take it for the system call's
        number = struct.unpack("<i", frame.payload)[0]
        raise ProtocolError(f"the agent refused the calls: {os.strerror(number)}")

    def _killed(self, calls: Sequence[Call]) -> ProcessKilled:
        self._alive = False
        status = self._channel.deaths.get((self.number, self._life), int(signal.SIGKILL))
        name = _name(calls) or "a batch of calls"
        who = f"process {self.pid} of the guest"
        if os.WIFEXITED(status):
            return ProcessKilled(
                f"{who} ended with status {os.WEXITSTATUS(status)} in {name}", 0, name, self.pid
            )
        number = os.WTERMSIG(status)
        return ProcessKilled(f"{who} was killed by {signal_name(number)} in {name}", number, name, self.pid)


def _name(calls: Sequence[Call]) -> str:
    """Returns the name of the one call that these are about, opening and closing aside; "" for several."""
    names = [syscalls.name_of(call.number) for call in calls]
    about = [name for name in names if name not in ("openat", "close")] if len(names) > 1 else names
    return about[0] if len(about) == 1 else ""
