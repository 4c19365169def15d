"""The kernel's reports about its own misbehaviour, found in its log."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from kmod_harness.klog.dumped_registers import registers_of
from kmod_harness.klog.frames import Frame, frames_of, position_of, stack_of
from kmod_harness.klog.guilty.guilty_function import guilty_function
from kmod_harness.klog.header_table import LOCKING_BUG
from kmod_harness.klog.headers import Header
from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.lockdep import is_about_printing, lock_user, present_stack
from kmod_harness.klog.raw_addresses import with_names
from kmod_harness.klog.records import KernelRecord
from kmod_harness.klog.report_extents import LEAD_LINES, ReportExtent, report_extents
from kmod_harness.klog.unnamed.dumped_stacks import unowned_stacks
from kmod_harness.klog.unnamed.unowned_registers import unowned_registers
from kmod_harness.klog.unnamed.urgent_lines import unowned_urgent_lines

#: Lines that may stand between a report's header and the panic that cut it short.
_PANIC_LINES = 60
_KMEMLEAK = re.compile(r"^kmemleak: (?=unreferenced|  )")
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

    title: kind and guilty function, without addresses, pids and times, so that repeats are equal.
    text: the raw lines.
    task, pid, cpu: whose fault it was, "" and None where the report does not tell.
    rip_symbol: the function that the CPU was in, "" where the report does not tell.
    function: the guilty one, "" where nothing tells.
    modules: the modules that have code in the report's frames.
    linked_modules: all modules that were loaded.
    first_line, last_line: indexes into the records, both included.
    position: where the CPU was, with the offset.
    frames: the call trace, innermost first.
    registers: name (`RAX`, `CR2`) -> value, of the first kernel-mode dump.
    taint: the kernel's taint letters, "" where it has none or the report does not tell.
    is_unnamed: no kind is known for it: the kernel dumped a stack or registers, below the line that is the
        title, or it said something urgent, which is the title.
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
    is_unnamed: bool = False


def find_splats(
    records: Iterable[KernelRecord],
    name_of: Callable[[int], str] | None = None,
    *,
    survived: int = 0,
    has_prefixes: bool | None = None,
) -> tuple[Splat, ...]:
    """Return the reports in the log in the order of their first lines, in time linear in the log's size.

    Those whose kind is unknown (`is_unnamed`) come behind all others, which tell more.

    name_of: gives names for code of modules that are gone (kmod/module_addresses.py).
    survived: the machine gave a sign of life behind so many records: no panic is among them.
    has_prefixes: whether the console gives the kernel's lines a prefix; None: as these records have one.

    The kernel's own lines count: none of a program's, and in a log with prefixes none without.

    A lockdep report that the printing of another report provoked comes behind that one. The backtraces that
    the harness asks for (sysrq, NMI) have no report's header, so they are none.
    """
    named = list(with_names(records, name_of) if name_of else records)
    if has_prefixes is None:
        has_prefixes = any(record.has_prefix for record in named)
    streams: dict[str, list[tuple[int, KernelRecord]]] = {}
    for index, record in enumerate(named):
        if not record.is_a_programs and record.has_prefix is has_prefixes:
            streams.setdefault(record.caller, []).append((index, record))
    found = [splat for stream in streams.values() for splat in _splats_of_one(stream, survived)]
    return _causes_first(sorted(found, key=lambda splat: (splat.is_unnamed, splat.first_line)))


def _causes_first(splats: Sequence[Splat]) -> tuple[Splat, ...]:
    """Return the reports with what lockdep says of the printing of a report behind that report."""
    ordered = list(splats)
    for at, splat in enumerate(splats[:-1]):
        after = splats[at + 1]
        about_it = splat.kind is SplatKind.LOCKDEP and is_about_printing(splat.text.splitlines())
        if about_it and after.first_line - splat.last_line <= LEAD_LINES:
            ordered[at : at + 2] = [after, splat]
    return tuple(ordered)


def _splats_of_one(stream: Sequence[tuple[int, KernelRecord]], survived: int) -> Iterator[Splat]:
    """Yield the reports of one caller (PRINTK_CALLER), of all callers where the log tells none."""
    lines = [index for index, _ in stream]
    records = [record for _, record in stream]
    # mm/kmemleak.c (kmemleak.verbose=1) has its name before each line of a report
    texts = [_KMEMLEAK.sub("", record.text, count=1) for record in records]
    extents = report_extents(texts, bisect_left(lines, survived))
    for extent, after in zip_longest(extents, extents[1:]):
        splat = _splat(extent, _panic_in_between(extent, after, texts), records, texts)
        yield replace(splat, first_line=lines[splat.first_line], last_line=lines[splat.last_line])
    for extent in _unnamed(extents, records, texts):
        splat = _splat(extent, None, records, texts)
        yield replace(splat, first_line=lines[splat.first_line], last_line=lines[splat.last_line])


def _unnamed(
    named: Sequence[ReportExtent], records: Sequence[KernelRecord], texts: Sequence[str]
) -> Sequence[ReportExtent]:
    """Return the extents of what no row of the header table knows: stacks, registers, urgent lines."""
    stacks = unowned_stacks(texts, named)
    registers = unowned_registers(texts, [*named, *stacks])
    return [*stacks, *registers, *unowned_urgent_lines(records, [*named, *stacks, *registers])]


def _splat(
    extent: ReportExtent, panic: ReportExtent | None, records: Sequence[KernelRecord], texts: Sequence[str]
) -> Splat:
    lines = texts[extent.first : extent.last + 1]
    below = [*texts[extent.at + 1 : extent.last + 1], *(texts[panic.at : panic.last + 1] if panic else ())]
    header = extent.header
    if header.kind is SplatKind.OUT_OF_MEMORY:
        below = [*texts[extent.first : extent.at], *below]
    is_warning = header.label == LOCKING_BUG
    is_lockdep = header.kind is SplatKind.LOCKDEP and not is_warning
    start = _trace_start(below)
    traced = present_stack(header.label, below) if is_lockdep else below[start:]
    frames = tuple(frames_of(traced))
    position = position_of(below)
    rip_symbol = position.function if position else ""
    named = header.function or (lock_user(header.label, below) if is_lockdep else "")
    task = _first(_TASK, [*lines, *below]) or _first(_BY_TASK, lines)
    groups = task.groupdict() if task else {}
    function = guilty_function(
        SplatKind.WARNING if is_warning else header.kind,
        named,
        *_stack(
            traced, position_of(below[:start]) or (None if position in stack_of(traced)[0] else position)
        ),
        by_operation=bool(_OVERFLOWED.search(header.label)),
    )
    return Splat(
        kind=header.kind,
        title=_title(header, function),
        text="\n".join(record.raw for record in records[extent.first : extent.last + 1]),
        task=header.task or groups.get("task", ""),
        pid=header.pid if header.pid is not None else _number(groups.get("pid")),
        cpu=header.cpu if header.cpu is not None else _number(groups.get("cpu")),
        rip_symbol=rip_symbol,
        position=position,
        frames=frames,
        registers=registers_of(below),
        taint=_taint(lines),
        is_unnamed=header.is_unnamed,
        function=function,
        modules=_modules(frames, position),
        linked_modules=_linked(lines),
        first_line=extent.first,
        last_line=extent.last,
    )


def _trace_start(lines: Sequence[str]) -> int:
    """Return the index of the line that announces a call trace, 0 where none does."""
    return next((i for i, line in enumerate(lines) if _TRACE.search(line[:200])), 0)


def _stack(traced: Sequence[str], above: Frame | None) -> tuple[list[Frame], int | None]:
    """Return the call trace with the CPU's position, which may stand above it, and that position's index."""
    stack, at = stack_of(traced)
    return ([above, *stack], 0) if above else (stack, at)


def _panic_in_between(
    extent: ReportExtent, after: ReportExtent | None, texts: Sequence[str]
) -> ReportExtent | None:
    """Return the panic that cut this report short and has its call trace (panic_on_warn), or None."""
    if after is None or after.header.kind is not SplatKind.PANIC or extent.header.kind is SplatKind.PANIC:
        return None
    near = after.first - extent.last <= _PANIC_LINES
    bare = not any(_TRACE.search(text[:200]) for text in texts[extent.at + 1 : extent.last + 1])
    return after if near and bare else None


def _title(header: Header, function: str) -> str:
    if header.kind is SplatKind.PANIC or not function:
        return header.label
    return f"{header.label} in {function}"


def _modules(frames: Sequence[Frame], position: Frame | None) -> tuple[str, ...]:
    names = (position.module if position else "", *(frame.module for frame in frames if not frame.guess))
    return tuple(dict.fromkeys(name for name in names if name))


def _taint(lines: Sequence[str]) -> str:
    """Return the letters of `Tainted: G        W  O` (print_tainted, kernel/panic.c)."""
    match = _first(_TAINTED, lines)
    return "".join(match["letters"].split()) if match else ""


def _linked(lines: Sequence[str]) -> tuple[str, ...]:
    """Return a, b of `Modules linked in: a(O) b [last unloaded: c]` (print_modules, kernel/module/main.c)."""
    match = _first(_LINKED, lines)
    if match is None:
        return ()
    names = match["names"].split("[last unloaded", 1)[0].split()
    return tuple(name.split("(", 1)[0] for name in names)


def _first(pattern: re.Pattern[str], lines: Iterable[str]) -> re.Match[str] | None:
    return next((match for line in lines if (match := pattern.search(line[:2048]))), None)


def _number(text: str | None) -> int | None:
    return int(text) if text else None
