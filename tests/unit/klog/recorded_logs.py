"""The logs of ../shared/data/kernel-logs: what they hold is told in its README.md."""

from __future__ import annotations

import re
from pathlib import Path

#: Start of the expected title -> kind; the type LOCKDEP and "WARNING" are looked at before.
KINDS = {
    "OOPS": ("general protection fault", "BUG: unable to handle", "divide error", "PANIC: double fault"),
    "RCU_STALL": ("INFO: rcu detected stall",),
    "HUNG_TASK": ("INFO: task hung", "INFO: task can't die"),
    "SOFT_LOCKUP": ("BUG: soft lockup",),
    "KASAN": ("KASAN",),
    "KMSAN": ("KMSAN",),
    "KCSAN": ("KCSAN",),
    "KFENCE": ("KFENCE",),
    "UBSAN": ("UBSAN",),
    "KMEMLEAK": ("memory leak",),
    "BUG": ("kernel BUG",),
    "PANIC": ("kernel panic",),
    "ATOMIC_SLEEP": ("BUG: sleeping function", "BUG: scheduling while atomic"),
}


def read_log(path: Path) -> tuple[dict[str, str], bytes]:
    """Header lines (the first of each name; ALT: all, one a line) and the log of one file."""
    head, _, log = (
        path.read_bytes().partition(b"\n\n")
        if path.read_bytes()[:1] != b"\n"
        else (
            b"",
            b"",
            path.read_bytes(),
        )
    )
    fields: dict[str, str] = {}
    for name, _, value in (line.partition(": ") for line in head.decode().splitlines()):
        fields[name] = (
            f"{fields[name]}\n{value}" if name == "ALT" and name in fields else fields.get(name, value)
        )
    return fields, log


def expected_kind(title: str, type_: str) -> str:
    if type_ == "LOCKDEP":
        return "LOCKDEP"
    for kind, starts in KINDS.items():
        if title.startswith(starts):
            return kind
    return "WARNING" if title.startswith("WARNING") else ""


def guilty(fields: dict[str, str]) -> str:
    """The function that the expected reading names, "" when it names none."""
    named = re.search(r" in (?:\w+ )?([\w.$]+)$", fields.get("TITLE", ""))
    return fields.get("FRAME", "") or (named[1] if named else "")


def accepted_functions(fields: dict[str, str]) -> set[str]:
    """The guilty function and those of the other acceptable titles."""
    return {guilty(fields)} | {alt.rpartition(" ")[2] for alt in fields.get("ALT", "").split("\n")}
