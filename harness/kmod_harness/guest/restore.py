"""A guest's second life: what its template remembers, and what must be set right before it is used.

Two guests of one template are twins: the same random numbers to come, the same
wall clock. Before its first answer each gets the host's time and entropy.
"""

from __future__ import annotations

import os
import secrets
import struct
import time
from dataclasses import dataclass

from ..errors import BootFailed
from ..kmod.elf import KernelModule
from ..machine import Deadline, Machine
from .channel import AgentChannel
from .process import Process
from .protocol import Call, ResultOf
from .syscalls import AT_FDCWD, NUMBERS

# _IOW('R', 3, int[2]) and _IO('R', 7): Linux include/uapi/linux/random.h
_RNDADDENTROPY = 0x40085203
_RNDRESEEDCRNG = 0x5207
_ENTROPY_BYTES = 64
_CLOCK_REALTIME = 0


@dataclass(frozen=True)
class EarlierLife:
    """What a template's guest left.

    process: its agent's waiting process (number, pid). spares: more of them, that nobody used yet:
    a fork costs 0.03 s in a guest that emulation has translated nothing of. log: ttyS0 until then.
    modules: what was loaded in it by Guest.load.
    """

    process: tuple[int, int]
    log: bytes
    modules: tuple[KernelModule, ...] = ()
    spares: tuple[tuple[int, int], ...] = ()


def wake(machine: Machine, channel: AgentChannel, earlier: EarlierLife, deadline: Deadline) -> Process:
    """Returns the restored guest's process once the agent answers and clock and RNG are its own.

    Raises BootFailed when the guest refuses either: a twin would be worse than no guest.
    """
    channel.greet(secrets.randbits(31) | 1, deadline)
    process = Process(machine, channel, earlier.process)
    freshen(process)
    return process


def freshen(process: Process) -> None:
    """Gives the guest the host's wall clock and 64 bytes of its entropy. Raises BootFailed."""
    opened = ResultOf(0)
    entropy = struct.pack("<ii", _ENTROPY_BYTES * 8, _ENTROPY_BYTES) + secrets.token_bytes(_ENTROPY_BYTES)
    now = time.time_ns()
    calls = [
        Call(NUMBERS["openat"], (AT_FDCWD, b"/dev/urandom\0", os.O_RDWR, 0)),
        Call(NUMBERS["ioctl"], (opened, _RNDADDENTROPY, entropy)),
        Call(NUMBERS["ioctl"], (opened, _RNDRESEEDCRNG)),
        Call(NUMBERS["close"], (opened,)),
        Call(NUMBERS["clock_settime"], (_CLOCK_REALTIME, struct.pack("<qq", *divmod(now, 10**9)))),
    ]
    failed = [os.strerror(result.errno) for result in process.batch(calls) if result.errno]
    if failed:
        raise BootFailed(f"the restored guest's clock or random numbers could not be set: {failed[0]}")
