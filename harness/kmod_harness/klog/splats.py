"""Finds what the kernel reports about its own misbehaviour in its log."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from kmod_harness.klog.dumped_registers import registers_of
from kmod_harness.klog.frames import Frame, frames_of, guilty_function, position_of
from kmod_harness.klog.headers import Header, header_of
from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.lockdep import is_about_printing, lock_user, present_stack
from kmod_harness.klog.raw_addresses import with_names
from kmod_harness.klog.records import KernelRecord

#: Lines that do not look like a report and may stand between two that do (another CPU's output).
_FOREIGN_LINES = 12
#: Lines that may stand between a report's header and the panic that cut it short.
_PANIC_LINES = 60
#: Lines above the header that may belong to it: a cut line, a rule of `=`, NX and KASAN notes.
_LEAD_LINES = 4

#: Lines of an out of memory report: a stack, the state of memory, every task (dump_header, mm/oom_kill.c).
_OOM_LINES = 400
_OOM_BEGINS = " invoked oom-killer: "

_CUT = "------------[ cut here ]------------"
_LEAD = re.compile(
    r"={20,}|\s*$|kernel tried to execute NX|unable to execute userspace|kasan: |"
    r"list_(?:add|del)"
)
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
_KMEMLEAK = re.compile(r"^kmemleak: (?=unreferenced|  )")
_RULE = re.compile(r"[=-]{20,}\s*$")
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
_TASK = re.compile(
    r"CPU: (?P<cpu>\d{1,5}) (?:UID: \d{1,10} )?PID: (?P<pid>\d{1,8}) Comm: (?P<task>.{1,32}?) "
    r"(?:Not tainted|Tainted:|Kdump|\S+ \S+ #)"
)
_BY_TASK = re.compile(r"(?:by task |task: |comm )\"?(?P<task>[^\s/\"]{1,32})\"?(?:/|, pid )(?P<pid>\d{1,8})")
_TRACE = re.compile(r"\b(?:Call [Tt]race|Backtrace):|^backtrace")
_OVERFLOWED = re.compile(r"corrupted stack end|stack guard page was hit|kernel stack overflow")
_TAINTED = re.compile(r"Tainted: (?P<letters>(?:[A-Z] ?| ){1,40})")
_LINKED = re.compile(r"Modules linked in:(?P<names>.*)")


@dataclass(frozen=True)
class Splat:
    """One report of the kernel about itself.

    title: kind and guilty function, without addresses, pids and times, so that
    repeats are equal. text: the raw lines. task, pid, cpu: whose fault it was,
    "" and None where the report does not tell. rip_symbol: the function the CPU
    was in, position: the same with its offset. frames: the call trace, innermost
    first. registers: name (`RAX`, `CR2`) -> value, of the first kernel-mode dump.
    taint: its letters, "" when not tainted or not told. function: the guilty one.
    modules: those with code in the report's frames. linked_modules: all that were
    loaded. first_line, last_line: indexes into the records, both included.
    """

    kind: SplatKind
    title: str
    text: str
    task: str
    pid: int | None
    cpu: int | None
    rip_symbol: str
    function: str
    modules: tuple[str, ...]
    linked_modules: tuple[str, ...]
    first_line: int
    last_line: int
    position: Frame | None = None
    frames: tuple[Frame, ...] = ()
    registers: Mapping[str, int] = field(default_factory=dict)
    taint: str = ""


@dataclass
class _Block:
    """A report while its end is still sought; lines are record indexes."""

    header: Header
    first: int
    at: int
    last: int
    foreign: int = 0


def find_splats(
    records: Iterable[KernelRecord], name_of: Callable[[int], str] | None = None
) -> tuple[Splat, ...]:
    """Returns the reports in the log in the order of their first lines; linear in the log's size.

    name_of: names for code of modules that are gone (kmod/module_addresses.py). A lockdep report
    that the printing of another report provoked comes behind that one.

    What the harness provokes (sysrq and NMI backtraces) has no report's header
    and is never one.
    """
    streams: dict[tuple[str, bool], list[tuple[int, KernelRecord]]] = {}
    for index, record in enumerate(with_names(records, name_of) if name_of else records):
        streams.setdefault((record.caller, record.timestamp is None), []).append((index, record))
    found = [splat for stream in streams.values() for splat in _splats_of_one(stream)]
    return _causes_first(sorted(found, key=lambda splat: splat.first_line))


def _causes_first(splats: Sequence[Splat]) -> tuple[Splat, ...]:
    """Moves what lockdep says of the printing of a report behind that report, the next of its task."""
    ordered = list(splats)
    for at, splat in enumerate(splats[:-1]):
        after = splats[at + 1]
        about_it = splat.kind is SplatKind.LOCKDEP and is_about_printing(splat.text.splitlines())
        if about_it and after.first_line - splat.last_line <= _LEAD_LINES:
            ordered[at : at + 2] = [after, splat]
    return tuple(ordered)


def _splats_of_one(stream: Sequence[tuple[int, KernelRecord]]) -> Iterator[Splat]:
    """The reports of one caller (PRINTK_CALLER); of all where the log tells none.

    What a program printed on the console, without a time among lines with one, is a stream too.
    """
    lines = [index for index, _ in stream]
    records = [record for _, record in stream]
    # mm/kmemleak.c (kmemleak.verbose=1) has its name before each line of a report
    texts = [_KMEMLEAK.sub("", record.text, count=1) for record in records]
    blocks = _blocks(texts)
    for block, after in zip_longest(blocks, blocks[1:]):
        splat = _splat(block, _panic_in_between(block, after, texts), records, texts)
        yield replace(splat, first_line=lines[splat.first_line], last_line=lines[splat.last_line])


def _blocks(texts: Sequence[str]) -> list[_Block]:
    blocks: list[_Block] = []
    block: _Block | None = None
    floor = 0  # lines below it belong to an earlier report
    for index, text in enumerate(texts):
        header = header_of(text)
        if header and not (block and _continues(block.header, texts[block.at], header, text)):
            if block and _is_its_message(texts, block, index, header):
                if block.header.kind is not SplatKind.INIT_IMBALANCE:
                    block.header, block.at = header, index
                block.last = index
                continue
            if block:
                floor = block.last + 1
            is_oom = header.kind is SplatKind.OUT_OF_MEMORY
            first = _invoked(texts, index, floor) if is_oom else _lead(texts, index, floor)
            if block and first <= block.last:
                block.last = first - 1
            block = _Block(header, first, index, index)
            blocks.append(block)
        elif block:
            if _extend(block, index, text):
                continue
            floor = block.last + 1
            block = None
    return blocks


def _extend(block: _Block, index: int, text: str) -> bool:
    """Takes the line into the block if it looks like a report's; False when the block is over."""
    if text.startswith(_CUT) or block.header.kind is SplatKind.OUT_OF_MEMORY:
        return False
    if _END.search(text[:200]):
        block.last = index
        return False
    if _REPORT_LINE.match(text):
        if text.strip():
            block.last, block.foreign = index, 0
        return not (_closed_by_rule(block) and index > block.at + 1 and _RULE.match(text[:200]))
    block.foreign += 1
    return block.foreign <= _FOREIGN_LINES


def _closed_by_rule(block: _Block) -> bool:
    """The sanitizers draw a rule below their report as well as above (mm/kasan/report.c, end_report)."""
    return block.first < block.at and block.header.kind in (
        SplatKind.KASAN,
        SplatKind.KMSAN,
        SplatKind.KCSAN,
        SplatKind.KFENCE,
        SplatKind.UBSAN,
    )


def _lead(texts: Sequence[str], index: int, floor: int) -> int:
    """The first line of what leads to the header at `index`, not below `floor`.

    That is a cut line, with the message of WARN() after it, or else lines
    that by themselves announce a report.
    """
    window = range(index - 1, max(index - 1 - _LEAD_LINES, floor - 1), -1)
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
    """The line that begins the report of an out of memory kill, which is its end; `index` without one."""
    window = range(index - 1, max(index - 1 - _OOM_LINES, floor - 1), -1)
    return next((above for above in window if _OOM_BEGINS in texts[above][:200]), index)


def _is_its_message(texts: Sequence[str], block: _Block, index: int, header: Header) -> bool:
    """Whether the open block is only the message that WARN() prints between the cut and its header."""
    return (
        header.kind in (SplatKind.WARNING, SplatKind.BUG)
        and texts[block.first].startswith(_CUT)
        and index - block.first <= _LEAD_LINES
    )


def _continues(open_header: Header, opening: str, header: Header, text: str) -> bool:
    """Whether a header is only a further line of the report that is open (die() after a page fault)."""
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


def _splat(
    block: _Block, panic: _Block | None, records: Sequence[KernelRecord], texts: Sequence[str]
) -> Splat:
    lines = texts[block.first : block.last + 1]
    below = [*texts[block.at + 1 : block.last + 1], *(texts[panic.at : panic.last + 1] if panic else ())]
    header = block.header
    if header.kind is SplatKind.OUT_OF_MEMORY:
        below = [*texts[block.first : block.at], *below]
    is_lockdep = header.kind is SplatKind.LOCKDEP
    frames = tuple(frames_of(present_stack(header.label, below) if is_lockdep else _traced(below)))
    position = position_of(below)
    rip_symbol = position.function if position else ""
    named = header.function or (lock_user(header.label, below) if is_lockdep else "")
    task = _first(_TASK, [*lines, *below]) or _first(_BY_TASK, lines)
    groups = task.groupdict() if task else {}
    function = guilty_function(
        header.kind, named, rip_symbol, frames, by_operation=bool(_OVERFLOWED.search(header.label))
    )
    return Splat(
        kind=header.kind,
        title=_title(header, function),
        text="\n".join(record.raw for record in records[block.first : block.last + 1]),
        task=header.task or groups.get("task", ""),
        pid=header.pid if header.pid is not None else _number(groups.get("pid")),
        cpu=header.cpu if header.cpu is not None else _number(groups.get("cpu")),
        rip_symbol=rip_symbol,
        position=position,
        frames=frames,
        registers=registers_of(below),
        taint=_taint(lines),
        function=function,
        modules=_modules(frames, position),
        linked_modules=_linked(lines),
        first_line=block.first,
        last_line=block.last,
    )


def _traced(lines: Sequence[str]) -> Sequence[str]:
    """The call trace and what follows; all lines where no line announces one."""
    start = next((i for i, line in enumerate(lines) if _TRACE.search(line[:200])), 0)
    return lines[start:]


def _panic_in_between(block: _Block, after: _Block | None, texts: Sequence[str]) -> _Block | None:
    """The panic that came before this report's own call trace (panic_on_warn), so that the trace is in it."""
    if after is None or after.header.kind is not SplatKind.PANIC or block.header.kind is SplatKind.PANIC:
        return None
    near = after.first - block.last <= _PANIC_LINES
    bare = not any(_TRACE.search(text[:200]) for text in texts[block.at + 1 : block.last + 1])
    return after if near and bare else None


def _title(header: Header, function: str) -> str:
    if header.kind is SplatKind.PANIC or not function:
        return header.label
    return f"{header.label} in {function}"


def _modules(frames: Sequence[Frame], position: Frame | None) -> tuple[str, ...]:
    names = (position.module if position else "", *(frame.module for frame in frames if not frame.guess))
    return tuple(dict.fromkeys(name for name in names if name))


def _taint(lines: Sequence[str]) -> str:
    """`Tainted: G        W  O`, the letters alone (print_tainted, kernel/panic.c)."""
    match = _first(_TAINTED, lines)
    return "".join(match["letters"].split()) if match else ""


def _linked(lines: Sequence[str]) -> tuple[str, ...]:
    """`Modules linked in: a(O) b [last unloaded: c]` (print_modules, kernel/module/main.c)."""
    match = _first(_LINKED, lines)
    if match is None:
        return ()
    names = match["names"].split("[last unloaded", 1)[0].split()
    return tuple(name.split("(", 1)[0] for name in names)


def _first(pattern: re.Pattern[str], lines: Iterable[str]) -> re.Match[str] | None:
    return next((match for line in lines if (match := pattern.search(line[:2048]))), None)


def _number(text: str | None) -> int | None:
    return int(text) if text else None
