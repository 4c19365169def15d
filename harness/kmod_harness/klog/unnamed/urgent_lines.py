"""Lines at level emerg, alert or crit that say that something is wrong, and belong to no report.

Only the kernel's own lines count: their format strings are in the kernel's sources (printed-formats.txt).
A driver's or a program's line of that level is its author's choice of a level.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kmod_harness.klog.headers import Header, stable
from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.records import KernelRecord
from kmod_harness.klog.report_extents import ReportExtent
from kmod_harness.klog.unnamed.printed_formats import URGENT, urgent_reports

_LONGEST = 1000


def unowned_urgent_lines(
    records: Sequence[KernelRecord], owned: Iterable[ReportExtent]
) -> list[ReportExtent]:
    """Return an extent for each urgent line outside these reports that says what is wrong, in order."""
    urgent = [index for index, record in enumerate(records) if _is_urgent(record)]
    if not urgent:
        return []
    taken = {index for extent in owned for index in range(extent.first, extent.last + 1)}
    return [
        ReportExtent(Header(SplatKind.OTHER, _label(records[index]), is_unnamed=True), index, index, index)
        for index in urgent
        if index not in taken and _says_what_is_wrong(records[index].text[:_LONGEST])
    ]


def _is_urgent(record: KernelRecord) -> bool:
    return record.level is not None and record.level <= URGENT and not record.facility


def _says_what_is_wrong(text: str) -> bool:
    return any(row.pattern.match(text) for row in urgent_reports())


def _label(record: KernelRecord) -> str:
    return stable(record.text[:160]).strip(" .!:")
