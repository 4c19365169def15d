"""Checks that the kernel log holds a module's messages, at their levels, and no splat."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kmod_harness.checks.require import require
from kmod_harness.errors import CheckFailed
from kmod_harness.guest.guest import Guest
from kmod_harness.klog.reading import for_reading
from kmod_harness.klog.records import KernelRecord

#: include/linux/kern_levels.h
LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")


@dataclass(frozen=True)
class ExpectedMessage:
    """A log line that has to appear.

    level: 0 (emergency) to 7 (debug)
    pattern: regular expression that is searched in the line's text
    """

    level: int
    pattern: str


def check_messages(guest: Guest, since: int, expected: Sequence[ExpectedMessage]) -> tuple[KernelRecord, ...]:
    """Checks that the expected messages follow the mark `since` in this order; returns their records.

    Completes the log first. Raises CheckFailed with what the log holds instead.
    """
    guest.kernel_log.sync(guest.syscaller)
    records = guest.kernel_log.since(since)
    found: list[KernelRecord] = []
    at = 0
    for message in expected:
        matching = [i for i in range(at, len(records)) if re.search(message.pattern, records[i].text)]
        if not matching:
            raise CheckFailed(
                f"the kernel log holds no {message.pattern!r}",
                evidence="\n".join(for_reading(record.raw for record in records)) or "(nothing was logged)",
            )
        record = records[matching[0]]
        require(
            record.level == message.level,
            f"{message.pattern!r} was logged at another level than {LEVELS[message.level]}",
            f"{'no level' if record.level is None else LEVELS[record.level]}: {record.text}",
        )
        found.append(record)
        at = matching[0] + 1
    return tuple(found)


def check_no_splat(guest: Guest, since: int) -> int:
    """Checks that the kernel log holds no splat behind the mark `since`; returns the number of its records.

    Completes the log first. Raises CheckFailed with the first splat.
    """
    splats = guest.judge(since)
    records = len(guest.kernel_log.since(since))
    if splats:
        more = f" (and {len(splats) - 1} more)" if len(splats) > 1 else ""
        raise CheckFailed(
            f"{splats[0].kind}: {splats[0].title}{more}",
            evidence="\n".join(for_reading(splats[0].text.splitlines())),
        )
    return records
