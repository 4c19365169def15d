"""A splat for a person to read, in 80 columns, with the source at fault at its end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath

from kmod_harness.klog.frames import plain
from kmod_harness.klog.records import KernelRecord, parse_console
from kmod_harness.klog.splats import Splat
from kmod_harness.report.columns import WIDTH, wrapped
from kmod_harness.report.symbolized import FrameLines, places_of, source_at_fault

#: Lines of the kernel's own shown of one report, its beginning and its end.
_FIRST_LINES, _LAST_LINES = 40, 20
#: What user space had in its registers, from its position on (show_regs, arch/x86/kernel/process_64.c).
_USER_POSITION = re.compile(r"RIP: 00(?:33|23):")
_REGISTERS = re.compile(r"(?:Code|[RE][A-Z]{2}|EFLAGS|R\d\d|[CDEFGS]S|CR\d|DR\d|ORIG_RAX): ")
#: The registers of before, once more behind the report's end (oops_end, arch/x86/kernel/dumpstack.c).
_SUMMARY = re.compile(r"(?:RIP: 0010:|RIP: 0000:)")
#: The instruction at fault, as source_at_fault() has it.
_INSTRUCTION = re.compile(r" *> +\+0: ")
#: Longest path in a headline; of a longer one the last two parts.
_SHORT_PATH = 32


def readable(splat: Splat, lines: FrameLines | None) -> list[str]:
    """Returns the lines of a splat; `lines` finds source lines, None without debug information.

    Priorities, all times but the first, user-space registers, and code bytes that are also shown as
    instructions are left out. The log holds the kernel's own text.
    """
    source = source_at_fault(splat, lines) if lines else []
    records = list(_without_user_space(parse_console(splat.text)))
    if any(_INSTRUCTION.match(line) for line in source):
        records = [record for record in records if not record.text.startswith("Code: ")]
    told = [line for index, record in enumerate(records) for line in _told(record, lines, first=index == 0)]
    if len(told) > _FIRST_LINES + _LAST_LINES:
        left_out = len(told) - _FIRST_LINES - _LAST_LINES
        told = [*told[:_FIRST_LINES], f"  ... {left_out} lines left out ...", *told[-_LAST_LINES:]]
    return [*told, "", *source] if source else told


def headline(splat: Splat, lines: FrameLines | None) -> str:
    """Returns the splat's title with its function first: `faulty_oops (faulty/traps.c:16): NULL pointer ...`.

    It fits a summary's line. Without a function it is the title alone.
    """
    if not splat.function:
        return splat.title
    label = splat.title.removesuffix(f" in {splat.function}")
    place = _place(splat, lines) if lines else ""
    return f"{splat.function}{f' ({place})' if place else ''}: {label}"


def lines_of_report(records: Sequence[KernelRecord], splat: Splat) -> Sequence[KernelRecord]:
    """Returns the records of a splat, with the registers that the kernel repeats behind its end."""
    end = splat.last_line + 1
    if end < len(records) and _SUMMARY.match(records[end].text):
        end += 1
        while end < len(records) and _REGISTERS.match(records[end].text):
            end += 1
    return records[splat.first_line : end]


def _place(splat: Splat, lines: FrameLines) -> str:
    """Returns `path:line` of the guilty function, "" where it is not known."""
    stack = [(frame, True) for frame in splat.frames]
    for frame, returns in [*([(splat.position, False)] if splat.position else []), *stack]:
        if plain(frame.function) == splat.function:
            places = lines.of(frame, returns=returns)
            return _shortened(lines.shown(places[-1])) if places else ""
    return ""


def _shortened(place: str) -> str:
    path, _, line = place.rpartition(":")
    parts = PurePosixPath(path).parts
    return place if len(path) <= _SHORT_PATH else f"{'/'.join(parts[-2:])}:{line}"


def _without_user_space(records: Iterable[KernelRecord]) -> Iterator[KernelRecord]:
    is_users = False
    for record in records:
        is_users = bool(
            _USER_POSITION.match(record.text) or (is_users and _REGISTERS.match(record.text.lstrip()))
        )
        if not is_users:
            yield record


def _told(record: KernelRecord, lines: FrameLines | None, *, first: bool) -> list[str]:
    """Returns the lines of a record; the source line goes on a line of its own where it does not fit."""
    time = f"[{record.timestamp:12.6f}] " if first and record.timestamp is not None else "  "
    text = re.sub(r"(?<=\S) {2,}", " ", record.text)
    further = " " * (len(text) - len(text.lstrip()) + 6)
    places = places_of(record, lines) if lines else ()
    if lines is None or not places:
        return wrapped(text, indent=time, further=further)
    *inlined, own = places
    above = [f"     {place.function} at {lines.shown(place)} (inlined)" for place in inlined]
    at = f"at {lines.shown(own)}"
    if len(f"{time}{text} {at}") <= WIDTH:
        return [*above, f"{time}{text} {at}"]
    return [*above, *wrapped(text, indent=time, further=further), f"{further}{at}"]
