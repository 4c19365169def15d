"""A kernel log with the source lines of its frames, and for each splat the source and code at fault."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from kmod_harness.host.directories import working_directory
from kmod_harness.klog.frames import Frame, frames_of, position_of
from kmod_harness.klog.records import KernelRecord
from kmod_harness.klog.splats import Splat, find_splats
from kmod_harness.klog.syslog.prefixes import parse_copied_log
from kmod_harness.kmod.symbols.symbolizer import SourceLine, Symbolizer
from kmod_harness.report.code_bytes import disassembled, parse_code

#: Source lines shown above and below the one at fault.
_CONTEXT = 3


class FrameLines:
    """The source lines of frames; paths are relative to the kernel's tree or to the working directory."""

    def __init__(self, symbolizer: Symbolizer) -> None:
        self._symbolizer = symbolizer
        here = working_directory()
        self._roots = [root for root in (symbolizer.source_root(), f"{here}/" if here else "") if root]

    def of(self, frame: Frame, *, returns: bool) -> tuple[SourceLine, ...]:
        """Returns the lines of a frame; `returns`: its offset is a return address."""
        if frame.offset is None:
            return ()
        return self._symbolizer.lines(frame.function, frame.offset, frame.size, frame.module, returns=returns)

    def code(self, frame: Frame) -> bytes:
        """Returns the function's bytes as its module's file holds them, b"" where they are not known."""
        return self._symbolizer.code(frame.function, frame.module)

    def shown(self, place: SourceLine) -> str:
        """Returns `path:line`, with the shortest clear path."""
        path = os.path.normpath(place.path)
        root = next((root for root in self._roots if path.startswith(root)), "")
        return f"{path.removeprefix(root)}:{place.line}"


def symbolized(log: str | bytes, symbolizer: Symbolizer) -> str:
    """Returns the log with a source line at the end of each frame's line, inlined frames on lines above it.

    The first position of each splat is followed by the source around it and the instructions of its `Code:`
    line. Other lines are unchanged.
    """
    lines = FrameLines(symbolizer)
    records = parse_copied_log(log)
    behind: dict[int, list[str]] = {}
    for splat in find_splats(records):
        behind.setdefault(splat.last_line, []).extend(source_at_fault(splat, lines))
    told: list[str] = []
    for index, record in enumerate(records):
        told += _with_places(record, lines)
        told += behind.get(index, [])
    return "\n".join(told)


def source_at_fault(splat: Splat, lines: FrameLines) -> list[str]:
    """Returns the source around the line at fault and the instructions there, [] where neither is known."""
    told: list[str] = []
    position = splat.position
    if position is not None:
        places = lines.of(position, returns=False)
        told += _source(places, lines.shown)
    told += _instructions(splat, lines)
    return [f"    {line}" for line in told]


def _instructions(splat: Splat, lines: FrameLines) -> list[str]:
    """Returns the instructions of the `Code:` line; of the .ko where the kernel could not read them."""
    text = splat.text.partition("RIP: 0033:")[0]
    code, fault = parse_code(text.partition("Code: ")[2])
    position = splat.position
    if not code and position is not None and position.offset is not None:
        code, fault = lines.code(position), position.offset
    return disassembled(code, fault)


def places_of(record: KernelRecord, lines: FrameLines) -> tuple[SourceLine, ...]:
    """Returns the source lines of a record's frame, inlined functions first; () without a known frame."""
    position = position_of([record.text])
    frame = position or next(frames_of([record.text]), None)
    return lines.of(frame, returns=position is None) if frame else ()


def _with_places(record: KernelRecord, lines: FrameLines) -> list[str]:
    places = places_of(record, lines)
    if not places:
        return [record.raw]
    *inlined, own = places
    prefix = record.raw[: len(record.raw) - len(record.text)]
    above = [f"{prefix}   {place.function} at {lines.shown(place)} (inlined)" for place in inlined]
    return [*above, f"{record.raw} at {lines.shown(own)}"]


def _source(places: Sequence[SourceLine], shown: Callable[[SourceLine], str]) -> list[str]:
    if not places:
        return []
    place = places[0]
    try:
        text = Path(place.path).read_text(errors="replace").splitlines()
    except OSError:
        return []
    if not 0 < place.line <= len(text):
        return []
    first, last = max(1, place.line - _CONTEXT), min(len(text), place.line + _CONTEXT)
    numbered = (f"{'>' if n == place.line else ' '} {n:5} {text[n - 1]}" for n in range(first, last + 1))
    return [f"{place.function} at {shown(place)}", *(line.expandtabs(8).rstrip() for line in numbered)]
