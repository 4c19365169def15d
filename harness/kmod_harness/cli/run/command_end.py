"""How a command of the guest ended, and who killed it, where the kernel log tells. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kmod_harness.guest.agent.calls import signal_name
from kmod_harness.klog.records import KernelRecord

#: A shell's exit status for a program of its own that signal N killed: 128 + N.
_OF_A_SHELL = range(129, 128 + 65)
#: What the kernel logs of a program that it kills: mm/oom_kill.c, arch/x86/mm/fault.c (show_signal_msg),
#: arch/x86/kernel/traps.c (show_signal), kernel/signal.c (print_fatal_signal), 6.1 to 7.2.
_KILLS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:Out of memory|Memory cgroup out of memory).{0,80}?: Kill(?:ed)? process (?P<pid>\d{1,8}) ",
        r"(?:traps: )?.{1,32}\[(?P<pid>\d{1,8})\]:? (?:segfault at|general protection|trap |bad frame).*",
        r".{0,64}?(?P<pid>\d{1,8}): potentially unexpected fatal signal \d{1,3}",
    )
)


@dataclass(frozen=True)
class CommandEnd:
    """The end of a command.

    signal: the name of the signal that killed it, or a program that its shell ran; "" for none
    killed_by: the line of the kernel log that tells who sent it, "" where none does
    """

    text: str
    signal: str = ""
    killed_by: str = ""


def command_end(status: int, pid: int | None, records: Iterable[KernelRecord]) -> CommandEnd:
    """Return how a command ended that exited with this status, negative for a signal.

    pid: the command's in the guest, None where it is not known
    records: what the kernel logged while it ran
    """
    if status >= 0 and status not in _OF_A_SHELL:
        return CommandEnd(f"exit status {status}")
    is_itself = status < 0
    name = signal_name(-status if is_itself else status - 128)
    if not is_itself and not name.startswith("SIG"):
        return CommandEnd(f"exit status {status}")
    line = _line_of_kill(list(records), pid if is_itself else None)
    who = f": {line}" if line else ""
    if is_itself:
        return CommandEnd(f"killed by {name}{who}", name, line)
    return CommandEnd(f"exit status {status}, a shell's for a program that {name} killed{who}", name, line)


def _line_of_kill(records: Sequence[KernelRecord], pid: int | None) -> str:
    """Return the last line by which the kernel tells that it killed this process; None: any."""
    for record in reversed(records):
        match = (
            None if record.is_a_programs else next(filter(None, (p.match(record.text) for p in _KILLS)), None)
        )
        if match is not None and pid in (None, int(match["pid"])):
            return record.text
    return ""


def parse_statuses(text: str) -> frozenset[int]:
    """Return the exit statuses in `4,77,32`; none for "". Raises ValueError for anything else."""
    statuses = frozenset(int(word) for word in text.split(",") if text)
    if any(not 0 < status < 256 for status in statuses):
        raise ValueError(f"an exit status is 1 to 255: {text}")
    return statuses
