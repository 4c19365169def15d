"""A restored guest: what its template remembers of it, and what has to be renewed before it is used.

Two guests restored from one template have the same wall clock and would draw the same random numbers.
Each is given the host's time and entropy before its first answer.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmod_harness.errors import BootFailed
from kmod_harness.guest.agent.calls import CALL_SECONDS, Pending
from kmod_harness.guest.agent.channel import AgentChannel
from kmod_harness.guest.agent.protocol import Call, Result, ResultOf
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.agent.syscalls import AT_FDCWD
from kmod_harness.guest.process import Process
from kmod_harness.machine.deadline import Deadline
from kmod_harness.machine.machine import Machine

if TYPE_CHECKING:
    from kmod_harness.kmod.elf.module import KernelModule

# _IOW('R', 3, int[2]) and _IO('R', 7): Linux include/uapi/linux/random.h
_RNDADDENTROPY = 0x40085203
_RNDRESEEDCRNG = 0x5207
_ENTROPY_BYTES = 64
_CLOCK_REALTIME = 0
#: Seconds after which the wall clock that a guest was sent is sent again; restoring it takes about 0.1.
_STALE_SECONDS = 0.2


@dataclass(frozen=True)
class SavedFacts:
    """The harness's knowledge of a guest that it restores from its template.

    process: number and pid of the agent's process that waits for calls
    log: everything ttyS0 carried until the guest was saved
    modules: the modules that Guest.load had loaded
    spares: number and pid of further processes, not used yet. A fork costs 0.03 s in a guest of which
        emulation has translated nothing
    slide: the kernel's KASLR slide in bytes, None when it is not known
    """

    process: tuple[int, int]
    log: bytes
    modules: tuple[KernelModule, ...] = ()
    spares: tuple[tuple[int, int], ...] = ()
    slide: int | None = None


class PendingRestore:
    """A guest under restoration: its first calls are sent, its answers are still to come.

    They may be sent before QEMU has read the saved state: they wait in the channel until the guest runs.
    """

    def __init__(self, machine: Machine, facts: SavedFacts) -> None:
        self.machine = machine
        self.channel = AgentChannel(machine)
        deadline = machine.deadline("calling a restored guest", CALL_SECONDS)
        self._hello = self.channel.begin_greeting(int.from_bytes(os.urandom(4), "little") | 1, deadline)
        self._process = Process(machine, self.channel, facts.process)
        self._called = time.monotonic()
        self._freshening = _begin_freshening(self._process)

    def finish(self, deadline: Deadline) -> Process:
        """Returns the guest's process, once the agent has answered and has a clock and RNG of its own.

        Raises BootFailed when the guest refuses either: without them it would repeat another guest's
        random numbers.
        """
        self.channel.receive(self._hello, deadline)
        self.channel.forget(self._hello)
        _check_freshening(self._freshening.results(deadline.remaining))
        if time.monotonic() - self._called > _STALE_SECONDS:
            # the host was busy: the time that was sent is out of date
            _check_freshening(self._process.batch([_set_clock()]))
        # QEMU has answered by now, unless it refuses a command
        self.machine.connect()
        return self._process


def freshen(process: Process) -> None:
    """Gives the guest the host's wall clock and 64 bytes of its entropy. Raises BootFailed."""
    _check_freshening(_begin_freshening(process).results())


def _begin_freshening(process: Process) -> Pending:
    opened = ResultOf(0)
    entropy = struct.pack("<ii", _ENTROPY_BYTES * 8, _ENTROPY_BYTES) + os.urandom(_ENTROPY_BYTES)
    calls = [
        Call(NUMBERS["openat"], (AT_FDCWD, b"/dev/urandom\0", os.O_RDWR, 0)),
        Call(NUMBERS["ioctl"], (opened, _RNDADDENTROPY, entropy)),
        Call(NUMBERS["ioctl"], (opened, _RNDRESEEDCRNG)),
        Call(NUMBERS["close"], (opened,)),
        _set_clock(),
    ]
    return process.begin(calls)


def _set_clock() -> Call:
    now = struct.pack("<qq", *divmod(time.time_ns(), 10**9))
    return Call(NUMBERS["clock_settime"], (_CLOCK_REALTIME, now))


def _check_freshening(results: Sequence[Result]) -> None:
    failed = [os.strerror(result.errno) for result in results if result.errno]
    if failed:
        raise BootFailed(f"the restored guest's clock or random numbers could not be set: {failed[0]}")
