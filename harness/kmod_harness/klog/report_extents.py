"""Where a report begins and ends in the log."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kmod_harness.klog.headers import Header, header_of
from kmod_harness.klog.kinds import SplatKind

#: Lines that do not look like a report and may stand between two that do (another CPU's output).
_FOREIGN_LINES = 12
#: Lines above the header that may belong to it: a cut line, a rule of `=`, NX and KASAN notes.
LEAD_LINES = 4

#: Lines of an out of memory report: a stack, the state of memory, every task (dump_header, mm/oom_kill.c).
_OOM_LINES = 400
_OOM_BEGINS = " invoked oom-killer: "

#: A log that ends so soon behind a report's first line was cut there.
_CUT_LINES = 2

_CUT = "------------[ cut here ]------------"
_LEAD = re.compile(
    r"={20,}|\s*$|kernel tried to execute NX|unable to execute userspace|kasan: |"
    r"list_(?:add|del)"
)
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
_RULE = re.compile(r"[=-]{20,}\s*$")
#: Somebody asked for what follows (drivers/tty/sysrq.c, 6.1): backtraces of healthy tasks.
_ASKED = "sysrq: "
#: What stands in reports: indented lines, registers, `Key: value` lines of dumps, frames.
_REPORT_LINE = re.compile(
    # dumpstack.c, process_64.c, fault.c: registers, page tables, stack, call trace
    r"\s|$|[RE]?[A-D]X:|R[A-Z0-9]{2}:|R\d\d:|EFLAGS|[RE]IP|IP:|Code|CS:|CR\d|DR\d|FS:|PGD|P4D|PUD|PMD|PTE|"
    r"#PF|Oops|general protection|CPU|PID|Comm|Hardware name|Modules linked|last unloaded|Call [Tt]race|"
    r"Stack|<|\[<|\[[0-9a-f]{8,16}\]|\[end|task:|task |Workqueue|[\w.$]+\+0x|[0-9a-f]{16}|Kernel Offset|"
    r"Dumping|Rebooting|Tainted|pc :|lr :|sp :|x\d+ ?:|r\d+ ?:|pstate|PC is|LR is|Flags: |Control: |"
    r"Register |Process |Exception|Internal|"
    # lockdep.c, sched/core.c, tree_stall.h, nmi_backtrace.c
    r"irq event|hardirqs|softirqs|Preemption|in_atomic|preempt_count|RCU nest|INFO: lockdep|\d+ locks? held|"
    r"#\d|={10,}|-{3,}|>|\*|\(|other info|stack backtrace|locking|but task|which lock|the existing|->|"
    r"the shortest|and this task|no locks|Showing|NMI backtrace|Sending NMI|rcu|"
    # mm/kasan/report.c, mm/kmsan/report.c, mm/kmemleak.c, mm/debug.c, mm/slub.c
    r"Read|Write|Access|Allocated|Freed|The buggy|Memory state|flags:|page:|raw:|page dumped|head:|"
    r"which belongs|KASAN|kasan|unreferenced|kmemleak: \d|comm |backtrace|hex dump|Uninit|"
    r"Local variable|Bytes |Memory access|Data copied"
)

#: Kinds some of whose reports are a line or a list, without a stack and without registers.
_BARE = frozenset(
    (
        SplatKind.PANIC,
        SplatKind.KMEMLEAK,
        SplatKind.WORKQUEUE_LOCKUP,
        SplatKind.RCU_STALL,
        SplatKind.HUNG_TASK,
        SplatKind.OUT_OF_MEMORY,
        SplatKind.BAD_PAGE,
        SplatKind.SLAB_CORRUPTION,
        SplatKind.OTHER,
    )
)
#: What a report with a stack or registers has below its first line; on arm, before 4.10 and elsewhere.
_BODY = re.compile(
    r"\s{0,8}(?:CPU:? ?\d|PID: |Modules linked in|Call [Tt]race|[RE]?IP: |RIP:|EIP:|pc :|PC is at|[RE]AX: |"
    r"Pid: |Process |Backtrace|Stack:|stack backtrace|Hardware name|Internal error|Oops|\[<[0-9a-f]{8,16}>\]|"
    r"\[ ?[0-9a-f]{8,16}\]|[\w.$]{1,128}\+0x[0-9a-f]+/0x|[A-Z]+ detected|#\d: |\d+ locks? held)"
)


@dataclass
class ReportExtent:
    """Which lines a report has: indexes into the texts.

    first: the first line, which may be a cut line or a note above the header.
    at: the header's line.
    last: the last line found so far.
    foreign: how many lines since then did not look like a report's.
    """

    header: Header
    first: int
    at: int
    last: int
    foreign: int = 0


def report_extents(texts: Sequence[str], survived: int = 0) -> list[ReportExtent]:
    """Return the extents of all reports in a log's texts, in order; only one of a single line lies in
    another.

    survived: the machine gave a sign of life behind so many texts: none is a panic's, no report was cut.
    """
    found = [extent for extent in _candidates(texts) if _is_report(extent, texts, survived)]
    return sorted(found, key=lambda extent: extent.first)


def _is_report(extent: ReportExtent, texts: Sequence[str], survived: int) -> bool:
    """Return whether the extent is more than a line of prose that reads like a report's first one."""
    if extent.header.kind is SplatKind.PANIC:
        return extent.at >= survived
    if extent.header.kind in _BARE and not extent.header.needs_trace:
        return True
    # with panic_on_warn the panic's lines have the stack of the warning that it cut short
    below = texts[extent.at + 1 : max(extent.last, extent.at + _FOREIGN_LINES) + 1]
    was_cut = extent.at >= survived and extent.last >= len(texts) - _CUT_LINES
    return was_cut or any(_BODY.match(text) for text in below)


def _candidates(texts: Sequence[str]) -> list[ReportExtent]:
    extents: list[ReportExtent] = []
    alone: list[ReportExtent] = []
    extent: ReportExtent | None = None
    floor = 0  # lines below it belong to an earlier report
    for index, text in enumerate(texts):
        header = header_of(text)
        if header and header.is_alone:
            alone.append(ReportExtent(header, index, index, index))
            continue
        if header and not (extent and _continues(extent.header, texts[extent.at], header, text)):
            if extent and _is_its_message(texts, extent, index, header):
                if extent.header.kind is not SplatKind.INIT_IMBALANCE:
                    extent.header, extent.at = header, index
                extent.last = index
                continue
            if extent:
                floor = extent.last + 1
            is_oom = header.kind is SplatKind.OUT_OF_MEMORY
            first = _invoked(texts, index, floor) if is_oom else _lead(texts, index, floor)
            if extent and first <= extent.last:
                extent.last = first - 1
            extent = ReportExtent(header, first, index, index)
            extents.append(extent)
        elif extent:
            if _extend(extent, index, text):
                continue
            floor = extent.last + 1
            extent = None
    return [*extents, *alone]


def _extend(extent: ReportExtent, index: int, text: str) -> bool:
    """Take the line into the extent if it looks like a report's; return False when the extent is over."""
    if text.startswith((_CUT, _ASKED)) or extent.header.kind is SplatKind.OUT_OF_MEMORY:
        return False
    if _END.search(text[:200]):
        extent.last = index
        return False
    if _REPORT_LINE.match(text):
        if text.strip():
            extent.last, extent.foreign = index, 0
        return not (_closed_by_rule(extent) and index > extent.at + 1 and _RULE.match(text[:200]))
    extent.foreign += 1
    return extent.foreign <= _FOREIGN_LINES


def _closed_by_rule(extent: ReportExtent) -> bool:
    """Return whether a rule ends it; the sanitizers draw one above and below (mm/kasan/report.c)."""
    return extent.first < extent.at and extent.header.kind in (
        SplatKind.KASAN,
        SplatKind.KMSAN,
        SplatKind.KCSAN,
        SplatKind.KFENCE,
        SplatKind.UBSAN,
    )


def _lead(texts: Sequence[str], index: int, floor: int) -> int:
    """Return the first line of what leads to the header at `index`; it is not before `floor`.

    That is a cut line, with the message of WARN() after it, or else lines that by themselves announce a
    report.
    """
    window = range(index - 1, max(index - 1 - LEAD_LINES, floor - 1), -1)
    for above in window:
        if texts[above].startswith(_CUT):
            return above
    first = index
    for above in window:
        if not _LEAD.match(texts[above][:200]):
            break
        if texts[above].strip():
            first = above
    return first


def _invoked(texts: Sequence[str], index: int, floor: int) -> int:
    """Return the line where the report begins that a kill for lack of memory ends; `index` without one."""
    window = range(index - 1, max(index - 1 - _OOM_LINES, floor - 1), -1)
    return next((above for above in window if _OOM_BEGINS in texts[above][:200]), index)


def _is_its_message(texts: Sequence[str], extent: ReportExtent, index: int, header: Header) -> bool:
    """Return whether the open extent is but the message that WARN() prints between the cut and its header."""
    return (
        header.kind in (SplatKind.WARNING, SplatKind.BUG)
        and texts[extent.first].startswith(_CUT)
        and index - extent.first <= LEAD_LINES
    )


def _continues(open_header: Header, opening: str, header: Header, text: str) -> bool:
    """Return whether a header is one more line of the open report, as die() prints after a page fault."""
    trap = header.kind is SplatKind.OOPS and "[#" in text
    if open_header.kind in (SplatKind.OOPS, SplatKind.BUG) and trap:
        return True
    if open_header.kind is header.kind and header.kind is SplatKind.RCU_STALL:
        return True
    if open_header.kind is header.kind and header.kind is SplatKind.KMEMLEAK:
        # a heading, objects, the number of objects: whatever is there, one report an object
        return not (_is_object(opening) and _is_object(text))
    return open_header.kind is SplatKind.PANIC and header.kind is SplatKind.PANIC


def _is_object(text: str) -> bool:
    return "unreferenced object" in text[:40]
