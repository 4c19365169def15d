"""Calls that a process of the guest makes: under way, answered, failed, or cut off by its death."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Protocol

from kmod_harness.errors import GUESTS_ANSWER, ProcessKilled
from kmod_harness.guest.agent.channel import AgentChannel
from kmod_harness.guest.agent.protocol import Call, Frame, Result
from kmod_harness.guest.agent.syscalls import name_of
from kmod_harness.machine.deadline import Deadline

#: Seconds one system call may take unless the caller says otherwise (times 4 under emulation).
CALL_SECONDS = 10.0


class Caller(Protocol):
    """The process that calls are made in, as far as these need it."""

    _channel: AgentChannel

    @property
    def is_alive(self) -> bool: ...

    def _deadline(self, calls: Sequence[Call], timeout: float | None) -> Deadline: ...

    def _decode(self, frame: Frame, calls: Sequence[Call]) -> list[Result]: ...

    def _killed(self, calls: Sequence[Call]) -> ProcessKilled: ...


class Pending:
    """Calls that are under way in a process; `result` waits for them."""

    def __init__(self, process: Caller, tag: int, calls: Sequence[Call]) -> None:
        self._process = process
        self._tag = tag
        self._calls = calls
        self._frame: Frame | None = None

    def __repr__(self) -> str:
        names = ", ".join(name_of(call.number) for call in self._calls)
        return f"<Pending: {names} of {self._process!r}, {'done' if self.done() else 'under way'}>"

    def done(self) -> bool:
        """True when `results` will not wait."""
        return (
            self._frame is not None
            or self._process._channel.has_frame(self._tag)
            or not self._process.is_alive
        )

    def results(self, timeout: float | None = None) -> list[Result]:
        """Returns the calls' results. Raises GuestHang after `timeout` seconds, ProcessKilled."""
        channel = self._process._channel
        if self._frame is None:
            if not channel.has_frame(self._tag) and not self._process.is_alive:
                raise self._process._killed(self._calls)
            self._frame = channel.receive(self._tag, self._process._deadline(self._calls, timeout))
            channel.forget(self._tag)
        return self._process._decode(self._frame, self._calls)

    def result(self, timeout: float | None = None) -> bytes | int:
        """Returns the result of a single call: the bytes it read, else its value. Raises OSError."""
        (result,) = self.results(timeout)
        check(result)
        return result.buffers[0] if result.buffers else result.value


def signal_name(number: int) -> str:
    """Returns SIGKILL for 9; the number itself for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def check(result: Result, about: str = "") -> Result:
    """Returns the result. Raises OSError when the call failed."""
    if result.errno:
        raise os_error(result.errno, about)
    return result


def os_error(number: int, about: str = "") -> OSError:
    """Returns OSError (its errno's subclass) as the same failure would raise on the host."""
    error = OSError(number, os.strerror(number), *((about,) if about else ()))
    error.add_note(GUESTS_ANSWER)
    return error


def c_path(path: str) -> bytes:
    """Returns the path as the kernel takes it. Raises ValueError for a NUL inside."""
    data = os.fsencode(path)
    if b"\0" in data:
        raise ValueError(f"a path holds a NUL byte: {path!r}")
    return data + b"\0"
