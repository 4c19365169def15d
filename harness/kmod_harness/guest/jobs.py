"""Programs in the guest: stdout, stderr and exit status apart, nothing quoted, nothing mixed."""

from __future__ import annotations

import os
import shlex
import signal
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kmod_harness.errors import CommandFailed, GuestHang
from kmod_harness.guest.agent.calls import os_error, signal_name
from kmod_harness.guest.agent.channel import AgentChannel
from kmod_harness.guest.agent.protocol import Frame, Kind, ProtocolError, encode_run
from kmod_harness.machine.deadline import Deadline
from kmod_harness.machine.machine import Machine

#: Seconds a program may run unless the caller says otherwise (times 4 under emulation).
RUN_SECONDS = 30.0
#: The most output kept of one program, in bytes: the guest is not trusted.
MAX_OUTPUT = 64 << 20
_PID = struct.Struct("<I")

ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "TERM": "dumb",
    "LANG": "C.UTF-8",
}


@dataclass(frozen=True)
class Completed:
    """A program that has ended: `status` is its exit status, -N when signal N killed it.

    stdout and stderr are bytes, `text` is stdout decoded; `seconds` is wall time; `pid` is the guest's, None
    where it is not known.
    """

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes
    seconds: float
    pid: int | None = None

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")

    @property
    def how(self) -> str:
        """How it ended, in words."""
        if self.status >= 0:
            return f"exit status {self.status}"
        return f"killed by {signal_name(-self.status)}"

    def check(self) -> Completed:
        """Returns itself. Raises CommandFailed unless the status is 0."""
        if self.status != 0:
            said = (self.stderr or self.stdout).decode(errors="replace")
            raise CommandFailed(f"{shlex.join(self.argv)}: {self.how}", evidence=said[-2000:])
        return self


class Receiver(Protocol):
    """Is given what a program writes, as it comes."""

    def __call__(self, data: bytes, *, is_stderr: bool) -> None: ...


class Source(Protocol):
    """What the program reads, passed on as it comes (guest/programs/feed.py)."""

    def sources(self) -> list[int]: ...

    def note_reader(self) -> None: ...

    def forward(self) -> None: ...


class _Output:
    """The program's stdout and stderr, kept as far as the guest may be trusted with memory."""

    def __init__(self, receiver: Receiver | None) -> None:
        self._receiver = receiver
        self._size = 0
        self._parts: dict[int, list[bytes]] = {Kind.STDOUT: [], Kind.STDERR: []}

    def takes(self, frame: Frame) -> bool:
        """Whether the frame is output; it is kept then."""
        if frame.kind not in self._parts:
            return False
        self._size += len(frame.payload)
        if self._size <= MAX_OUTPUT:
            self._parts[frame.kind].append(frame.payload)
            if self._receiver is not None:
                self._receiver(frame.payload, is_stderr=frame.kind == Kind.STDERR)
        return True

    @property
    def both(self) -> tuple[bytes, bytes]:
        """stdout and stderr."""
        dropped = b"\nkmod-harness: output beyond 64 MiB was dropped\n" if self._size > MAX_OUTPUT else b""
        return b"".join(self._parts[Kind.STDOUT]), b"".join(self._parts[Kind.STDERR]) + dropped


def run(
    machine: Machine,
    channel: AgentChannel,
    argv: Sequence[str],
    *,
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    directory: str = "",
    input_path: str = "",
    receiver: Receiver | None = None,
    source: Source | None = None,
) -> Completed:
    """Runs a program and returns how it ended.

    `input_path` is a file of the guest for its stdin, "" for /dev/null; `source` gives that file what it is
    to hold, `receiver` is given the output as it comes. Raises OSError with the guest's errno when it cannot
    be executed, GuestHang when it takes longer than `timeout` seconds (it is asked why, and killed then), and
    what Watch.wait raises.
    """
    if isinstance(argv, str):
        raise TypeError('argv is a sequence of strings; for a shell line: ["sh", "-c", line]')
    seconds = RUN_SECONDS if timeout is None else timeout
    deadline = machine.deadline(shlex.join(argv), seconds, exact=timeout is not None, of_a_call=True)
    variables = {**ENVIRONMENT, **(environment or {})}
    payload = encode_run(
        [os.fsencode(word) for word in argv],
        [os.fsencode(f"{name}={value}") for name, value in variables.items()],
        os.fsencode(directory),
        os.fsencode(input_path),
    )
    started = time.monotonic()
    tag = channel.send(Kind.RUN, payload, deadline=deadline)
    output = _Output(receiver)
    pid: int | None = None
    try:
        while (frame := _next_frame(machine, channel, tag, deadline, source)).kind != Kind.EXIT:
            if output.takes(frame):
                continue
            if frame.kind == Kind.ERROR:
                about = f"{argv[0]} in {directory}" if directory else argv[0]
                raise os_error(struct.unpack("<i", frame.payload)[0], about)
            if frame.kind != Kind.RUN:
                raise ProtocolError(f"frame of kind {frame.kind} during a program's run")
            if source is not None:
                source.note_reader()
            if len(frame.payload) >= _PID.size:
                (pid,) = _PID.unpack_from(frame.payload)
    except GuestHang as hang:
        tasks = _ask_why(machine, channel, pid)
        _kill(machine, channel, tag)
        raise _with_output(hang, output.both, tasks) from hang
    finally:
        channel.forget(tag)
    status = os.waitstatus_to_exitcode(struct.unpack("<i", frame.payload)[0])
    return Completed(tuple(argv), status, *output.both, time.monotonic() - started, pid)


def _next_frame(
    machine: Machine, channel: AgentChannel, tag: int, deadline: Deadline, source: Source | None
) -> Frame:
    """Returns the program's next frame; passes its input on meanwhile."""
    while source is not None and not channel.has_frame(tag):
        agent, sources = machine.agent.fileno(), source.sources()
        if channel.has_frame(tag):
            # it came with an answer to the source
            break
        ready = machine.watch.wait([agent, *sources], deadline)
        if ready & set(sources):
            source.forward()
        if agent in ready:
            channel.take_in()
    return channel.receive(tag, deadline)


def _with_output(hang: GuestHang, output: tuple[bytes, bytes], tasks: str) -> GuestHang:
    said = b"".join(output).decode(errors="replace")
    told = GuestHang(
        hang.message,
        evidence="\n".join(filter(None, (f"it had said: {said[-1500:]!r}", tasks, hang.evidence))),
        advice=hang.advice,
    )
    told.stdout, told.stderr = output
    return told


def _ask_why(machine: Machine, channel: AgentChannel, pid: int | None) -> str:
    """Returns what the program's tasks do, "" where somebody else has noted it."""
    from kmod_harness.guest.programs.tasks import tell_tasks  # lazy: few programs overrun their time

    return "" if machine.before_kill() or pid is None else tell_tasks(machine, channel, pid)


def _kill(machine: Machine, channel: AgentChannel, tag: int) -> None:
    """Ends an overdue program; one that no signal reaches (state D) stays and is the guest's problem."""
    # an agent that runs at all answers in milliseconds; a verdict is waiting
    deadline = machine.deadline("ending an overdue program", 1.0, exact=True)
    try:
        channel.ask(Kind.SIGNAL, struct.pack("<II", tag, signal.SIGKILL), deadline=deadline)
    except (GuestHang, OSError):
        return
