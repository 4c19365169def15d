"""Findings in words, of pointers: who points to what, and on which source line that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from kmod_harness.errors import MissingTool
from kmod_harness.leftovers.findings import Finding

if TYPE_CHECKING:
    from kmod_harness.kmod.elf.module import KernelModule
    from kmod_harness.leftovers.pointers import Pointer

#: Places of one target that are named; the rest are counted.
_MOST_PLACES = 3


def describe(pointers: Sequence[Pointer]) -> list[Finding]:
    """Returns a finding for each function or variable that is pointed to, the certain ones first."""
    groups: dict[tuple[str, str], list[Pointer]] = {}
    for pointer in sorted(pointers, key=lambda one: not one.is_certain):
        groups.setdefault((pointer.module.name, pointer.target.symbol), []).append(pointer)
    named = [group for (_, symbol), group in groups.items() if symbol]
    # what has no name tells nothing new beside what has one
    return [_finding(group) for group in named or list(groups.values())]


def _finding(group: Sequence[Pointer]) -> Finding:
    first = group[0]
    places = list(dict.fromkeys(pointer.where for pointer in group))
    where = ", ".join(places[:_MOST_PLACES])
    if len(places) > _MOST_PLACES:
        where += f" and {len(places) - _MOST_PLACES} more"
    target = first.target
    many = len(places) > 1
    calls = first.module.calls_of(target)
    function = target.symbol if target.is_code else next(iter(calls), "")
    if target.is_code:
        what = f"{where} still call{'' if many else 's'} {target.symbol}"
    else:
        what = f"{where} still point{'' if many else 's'} to {target.symbol or 'its data'}"
        if calls:
            what += f", which calls {' and '.join(calls[:2])}"
    return Finding(first.module.name, what, target.symbol, places[0], _line(first.module.file, function))


def _line(module: KernelModule, function: str) -> str:
    from kmod_harness.kmod.symbols.symbolizer import Symbolizer  # lazy

    if not function:
        return ""
    try:
        lines = Symbolizer(None, [module]).lines(function, 0, module=module.name, returns=False)
    except MissingTool:
        return ""
    return next((f"{PurePath(line.path).name}:{line.line}" for line in reversed(lines) if line.line), "")
