"""Registers that the kernel dumped of its own accord (show_regs), and that no report of a known kind owns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kmod_harness.klog.headers import Header, stable
from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.report_extents import ReportExtent
from kmod_harness.klog.unnamed.dumped_stacks import INTRODUCED, PREAMBLE

#: show_ip, arch/x86/kernel/dumpstack.c, 6.1: in the kernel's code segment.
_POSITION = re.compile(r"RIP: 0010:")
_REGISTERS = re.compile(r"RAX: [0-9a-f]{16} RBX: [0-9a-f]{16} ")
#: Lines from the position to the registers: the code, RSP.
_NEAR = 4
_PREAMBLE_LINES = 6
_DUMP = re.compile(r"R(?:IP|SP|AX|DX|BP|\d\d): |FS:|CS:|CR[0-4]: |DR[0-7]: |Code: |\s|Call Trace:|PKRU: ")
_DUMP_LINES = 100
#: Who asked for it: a person by sysrq, somebody by an NMI, a stopped CPU's last words.
_ASKED = re.compile(r"sysrq: |(?:NMI )?backtrace for cpu|Sending NMI|Show Regs")


def unowned_registers(texts: Sequence[str], owned: Iterable[ReportExtent]) -> list[ReportExtent]:
    """Return an extent for each dump of the kernel's registers outside these reports, in order.

    Its header's label is the line above the dump.
    """
    taken = {index for extent in owned for index in range(extent.first, extent.last + 1)}
    found: list[ReportExtent] = []
    for index, text in enumerate(texts):
        if index not in taken and _POSITION.match(text):
            extent = _extent(texts, index, taken)
            if extent is not None:
                found.append(extent)
    return found


def _extent(texts: Sequence[str], at: int, taken: set[int]) -> ReportExtent | None:
    if not any(_REGISTERS.match(text) for text in texts[at + 1 : at + 1 + _NEAR]):
        return None
    near = range(at - 1, max(-1, at - 1 - _PREAMBLE_LINES), -1)
    top = next((above for above in near if INTRODUCED.match(texts[above])), None)
    # the registers within a stack are those of what was interrupted: no preamble stands before them
    if top is None or not all(PREAMBLE.match(texts[above]) for above in range(top + 1, at)):
        return None
    lead = range(top - 1, max(-1, top - 4), -1)
    if any(_ASKED.search(texts[above][:200]) for above in lead):
        return None
    first = next((above for above in lead if texts[above].strip() and above not in taken), top)
    label = stable(texts[first][:160]).strip(" .!:") if first != top else "registers that the kernel dumped"
    last = at
    while last + 1 < min(len(texts), at + _DUMP_LINES) and _DUMP.match(texts[last + 1]):
        last += 1
    return ReportExtent(Header(SplatKind.OTHER, label, is_unnamed=True), first, first, last)
