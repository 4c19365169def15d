"""Whether a line of the kernel log begins a report, and what that line alone tells."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kmod_harness.klog.header_table import ROWS, Row
from kmod_harness.klog.kinds import SplatKind

#: A cheap look, before any row is tried.
_ANY_WORD = re.compile("|".join(re.escape(word) for word in {word for row in ROWS for word in row.words}))
#: Longest part of a line that is looked at, in characters: keeps every search linear in the log's size. The
#: path of a source file may be most of it.
_HEAD = 1200
#: What may stand before a report's first line: pr_fmt of the kernel's files, a frame of lockdep's, `Oops: `
#: from 6.10 on, a line of KASAN's without its newline (before 4.18), the clock of a fuzzer that prints leaks.
_LEAD_IN = re.compile(
    r" {0,2}(?:\[ |(?:NMI )?watchdog: |CPU\d{1,4}: |rcu: |traps: |usercopy: |kmemleak: |Oops: |"
    r"kasan: GPF could be caused by NULL-ptr deref or user memory access|segment-related |"
    r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d ){0,4}"
)
#: What ends a report and names it again.
_NOT_A_HEADER = re.compile(r"---\[ end |\bsysrq: ")

_VARYING = (
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "ADDR"),
    (re.compile(r"\b[0-9a-f]{8,16}\b"), "ADDR"),
    (re.compile(r"\d+"), "N"),
)


@dataclass(frozen=True)
class Header:
    """The line a report begins with.

    label: the title without the function.
    function, task, pid, cpu: what the line itself tells, "" or None where it does not.
    needs_trace: whether it is a report only with a stack or registers below it.
    is_alone: whether the report is this line.
    is_unnamed: whether no row of the table knows it (klog/unnamed/).
    """

    kind: SplatKind
    label: str
    function: str = ""
    task: str = ""
    pid: int | None = None
    cpu: int | None = None
    needs_trace: bool = False
    is_unnamed: bool = False
    is_alone: bool = False


def header_of(text: str) -> Header | None:
    """Return the header that a record's text is, None when no report begins here.

    A report's first line begins with what the kernel says: behind other words it is a driver's prose.
    """
    text = text[:_HEAD]
    if not _ANY_WORD.search(text) or _NOT_A_HEADER.search(text):
        return None
    led = _LEAD_IN.match(text)
    lead = led.end() if led else 0
    for row in ROWS:
        if any(word in text for word in row.words):
            match = row.compiled.match(text) or row.compiled.match(text, lead)
            if match:
                return _header(row, match)
    return None


def stable(text: str) -> str:
    """Return the text with addresses and numbers, which differ from run to run, replaced by ADDR and N."""
    for pattern, word in _VARYING:
        text = pattern.sub(word, text)
    return " ".join(text.split())


def _header(row: Row, match: re.Match[str]) -> Header:
    groups = match.groupdict()
    found = (groups.get("label") or "").strip(" .!:")
    label = row.label or stable(found) or row.kind.value
    if row.kind is SplatKind.PANIC:
        label = f"kernel panic: {row.label or stable(found)}"
    return Header(
        kind=row.kind,
        label=label,
        function=groups.get("function") or "",
        task=groups.get("task") or "",
        pid=int(groups["pid"]) if groups.get("pid") else None,
        cpu=int(groups["cpu"]) if groups.get("cpu") else None,
        needs_trace=row.needs_trace,
        is_alone=row.is_alone,
    )
