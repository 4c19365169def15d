"""Checks that a module's code ran in the calling process: init in insmod's, open in the opener's.

The sample module chardev logs the task that was current: `(pid 37 comm insmod)`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kmod_harness.checks.require import require
from kmod_harness.klog.reading import for_reading
from kmod_harness.klog.records import KernelRecord

_CALLER = r"\(pid (?P<pid>\d+) comm (?P<comm>.{1,16})\)"


@dataclass(frozen=True)
class CallingTask:
    """The task that was current when a function of the module ran.

    function: `init` or `open`
    pid: process number
    comm: name of the task, at most 16 characters
    """

    function: str
    pid: int
    comm: str


def check_init_caller(records: Sequence[KernelRecord], module: str, pid: int) -> CallingTask:
    """Checks that the module's init ran in process `pid`, which called finit_module. Raises CheckFailed."""
    return _check(records, rf"{module}: loaded: ", "init", pid, "called finit_module")


def check_open_caller(records: Sequence[KernelRecord], module: str, pid: int) -> CallingTask:
    """Checks that the last open in the log ran in process `pid`, the device's opener. Raises CheckFailed."""
    return _check(records, rf"{module}: open: ", "open", pid, "opened the device")


def _check(records: Sequence[KernelRecord], start: str, function: str, pid: int, did: str) -> CallingTask:
    matches = [
        match
        for record in records
        if re.match(start, record.text) and (match := re.search(_CALLER, record.text)) is not None
    ]
    require(
        len(matches) > 0,
        f"the module did not log who called its {function}",
        "\n".join(for_reading(record.raw for record in records)),
        "the open's line needs trace_opens=1" if function == "open" else "",
    )
    caller = CallingTask(function, int(matches[-1]["pid"]), matches[-1]["comm"])
    require(
        caller.pid == pid,
        f"{function} ran in another process than the one that {did}",
        f"current was pid {caller.pid} ({caller.comm}); pid {pid} {did}",
    )
    return caller
