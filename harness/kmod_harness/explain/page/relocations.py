"""The module's relocations as rows, as sums, and one of them worked out. Pure."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from kmod_harness.explain.observed.observations import ModuleSection
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.link.relocation import FORMULAS, BoundRelocation

#: Rows on the page at most; all of them are in the file beside it.
MAX_ROWS = 400
#: `call rel32` (Intel SDM, volume 2), and the types that its operand is relocated by.
_CALL_OPCODE = b"\xe8"
_CALLS = ("R_X86_64_PLT32", "R_X86_64_PC32")
#: What the compiler calls unasked (arch/x86/Makefile: -mfentry, -mfunction-return), in plain words.
MEANINGS_OF_SYMBOLS = {
    "__fentry__": "the hook for tracers at the start of a function",
    "__x86_return_thunk": "a return that can be made safe from speculation attacks",
}


@dataclass(frozen=True)
class RelocationRow:
    """One relocation in words: address, place (`function+0x1b`), offset in its section, what it is bound to.

    written: the bytes in memory, as hexadecimal digits. image_kind: `kernel`, `own`, `other`, `per-cpu`
    or `none`.
    """

    number: int
    where: int
    place: str
    section: str
    offset: int
    type: str
    symbol: str
    image: str
    image_kind: str
    target: int
    addend: int
    written: str


@dataclass(frozen=True)
class Example:
    """A call that was relocated: S + A - P is `distance`; the instruction's bytes in the file, and after."""

    row: RelocationRow
    distance: int
    before: str
    after: str


@dataclass(frozen=True)
class RelocationSummary:
    """total, and counts by image kind, by type and by the kernel's symbol, each largest first."""

    total: int
    by_image: tuple[tuple[str, str, int], ...]
    by_type: tuple[tuple[str, str, int], ...]
    by_symbol: tuple[tuple[str, int], ...]
    rows: tuple[RelocationRow, ...]
    example: Example | None

    @property
    def left_out(self) -> int:
        return self.total - len(self.rows)

    def to_be_explained(self, already: Collection[str]) -> tuple[str, ...]:
        """Return the symbols of the table that have a meaning here, less those explained already."""
        shown = {row.symbol for row in self.rows}
        return tuple(name for name in MEANINGS_OF_SYMBOLS if name in shown and name not in already)


def relocation_summary(
    module: KernelModule,
    sections: Sequence[ModuleSection],
    relocations: Sequence[BoundRelocation],
    function: str = "",
) -> RelocationSummary:
    """Return the rows that the page shows; bounded in size whatever the module.

    function: in which one the call that is worked out should be, where it has one.
    """
    rows = relocation_rows(module, sections, relocations)
    kinds = Counter(row.image_kind for row in rows)
    names: dict[str, Counter[str]] = {}
    for row in rows:
        names.setdefault(row.image_kind, Counter())[row.image] += 1
    types = Counter(row.type for row in rows)
    wanted = Counter(row.symbol for row in rows if row.image_kind == "kernel")
    return RelocationSummary(
        total=len(rows),
        by_image=tuple((kind, ", ".join(names[kind]), count) for kind, count in kinds.most_common()),
        by_type=tuple((name, formula_text(name), count) for name, count in types.most_common()),
        by_symbol=tuple(wanted.most_common(12)),
        rows=tuple(rows[:MAX_ROWS]),
        example=_example(module, rows, function),
    )


def relocation_rows(
    module: KernelModule, sections: Sequence[ModuleSection], relocations: Iterable[BoundRelocation]
) -> list[RelocationRow]:
    """Returns all of them as rows, by address."""
    places = PlaceNames(module, sections)
    return [
        RelocationRow(
            number=number,
            where=bound.where,
            place=places.name_of(bound.where, bound.what.section.name, bound.what.offset),
            section=bound.what.section.name,
            offset=bound.what.offset,
            type=bound.what.type_name,
            symbol=bound.bound_to,
            image=bound.image,
            image_kind=image_kind(bound.image, module.name),
            target=bound.target,
            addend=bound.what.addend,
            written=bound.value.to_bytes(bound.size, "little").hex(" "),
        )
        for number, bound in enumerate(sorted(relocations, key=lambda bound: bound.where), 1)
    ]


class PlaceNames:
    """Names addresses of the module after the function or object that they lie in."""

    def __init__(self, module: KernelModule, sections: Sequence[ModuleSection]) -> None:
        at = {section.name: section.address for section in sections}
        named = {
            at[symbol.section] + symbol.value: (symbol.name, symbol.size)
            for symbol in module.symbols
            if symbol.section in at and symbol.kind in ("FUNC", "OBJECT") and symbol.size
        }
        self._starts = sorted(named)
        self._named = named

    def name_of(self, address: int, section: str, offset: int) -> str:
        index = bisect.bisect_right(self._starts, address) - 1
        if index >= 0:
            start = self._starts[index]
            name, size = self._named[start]
            if address < start + size:
                return f"{name}+{address - start:#x}"
        return f"{section}+{offset:#x}"


def _example(module: KernelModule, rows: Sequence[RelocationRow], function: str) -> Example | None:
    """Returns a call from the module's code to the kernel, checked before it is shown."""
    text = module.section(".text")
    if text is None:
        return None
    calls = [example for row in rows if (example := _worked_out(row, module.data, text.offset)) is not None]
    # two underscores: hooks and thunks that the compiler adds, less telling than a function by name
    named = [call for call in calls if not call.row.symbol.startswith("__")] or calls
    return next(
        (call for call in named if call.row.place.startswith(f"{function}+")), next(iter(named), None)
    )


def _worked_out(row: RelocationRow, data: bytes, text_offset: int) -> Example | None:
    """Returns the row as an example if it is the operand of a `call` into the kernel, and S + A - P holds."""
    if row.section != ".text" or row.image_kind != "kernel" or row.type not in _CALLS or row.addend != -4:
        return None
    at = text_offset + row.offset
    distance = row.target + row.addend - row.where
    holds = (distance & 0xFFFFFFFF).to_bytes(4, "little").hex(" ") == row.written
    if data[at - 1 : at] != _CALL_OPCODE or not holds:
        return None
    return Example(row, distance, data[at - 1 : at + 4].hex(" "), f"{_CALL_OPCODE.hex()} {row.written}")


def formula_text(type_name: str) -> str:
    """Returns the formula of a relocation type, as `S + A - P, 4 bytes`; "" for an unknown one."""
    formula = next((formula for formula in FORMULAS.values() if formula.name == type_name), None)
    if formula is None or not formula.size:
        return ""
    return f"S + A{' - P' if formula.relative else ''}, {formula.size} bytes"


def image_kind(image: str, own: str) -> str:
    """Return whose a symbol is: `kernel`, `own`, `other`, `per-cpu` or `none`."""
    kinds = {"vmlinux": "kernel", own: "own", "per-CPU": "per-cpu", "absolute": "none"}
    return kinds.get(image, "other")
