"""Whether a line of the kernel log begins a report, and what that line alone tells."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kmod_harness.klog.header_table import ROWS, Row
from kmod_harness.klog.kinds import SplatKind

#: A cheap look, before any row is tried.
_ANY_WORD = re.compile("|".join(re.escape(word) for word in {word for row in ROWS for word in row.words}))
#: Longest part of a line that is looked at, in characters: keeps every search linear in the log's size.
_HEAD = 400
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
    """

    kind: SplatKind
    label: str
    function: str = ""
    task: str = ""
    pid: int | None = None
    cpu: int | None = None


def header_of(text: str) -> Header | None:
    """Return the header that a record's text is, None when no report begins here."""
    text = text[:_HEAD]
    if not _ANY_WORD.search(text) or _NOT_A_HEADER.search(text):
        return None
    for row in ROWS:
        if any(word in text for word in row.words):
            match = row.compiled.search(text)
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
    )
