"""The registers that a report dumps (show_regs, arch/x86/kernel/process_64.c and process_32.c)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_REGISTER = re.compile(r"\b(R[A-Z0-9]{2}|E[A-Z]{2}|EFLAGS|CR[0-8]|DR[0-7]|GS|FS): ?([0-9a-f]{8,16})\b")
_RSP = re.compile(r"\bRSP: (?P<segment>[0-9a-f]{4}):(?P<value>[0-9a-f]{8,16})")
_USER_SEGMENTS = ("0033", "002b", "0023")


def registers_of(lines: Iterable[str]) -> dict[str, int]:
    """Return name (`RAX`, `CR2`) -> value of the first kernel-mode dump, {} where there is none.

    The values of user space, which follow those of a system call, are left out.
    """
    found: dict[str, int] = {}
    for line in lines:
        line = line[:512]
        stack = _RSP.search(line)
        if stack and (stack["segment"] in _USER_SEGMENTS or "RSP" in found):
            break
        if stack:
            found["RSP"] = int(stack["value"], 16)
        for name, value in _REGISTER.findall(line):
            found.setdefault(name, int(value, 16))
    return found
