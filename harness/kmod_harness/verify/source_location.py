"""From an offset in a module's section to symbol, source line and instructions, for reports."""

from __future__ import annotations

from kmod_harness.kmod.elf.disassembly import instructions
from kmod_harness.kmod.elf.module import KernelModule, Section
from kmod_harness.kmod.symbols.symbolizer import Symbolizer

_NAMED_KINDS = ("FUNC", "OBJECT", "NOTYPE")


def symbol_at(module: KernelModule, section: Section, offset: int) -> str:
    """Returns `name+0x12/0x40` for an offset in a section; the section's name where no symbol precedes it."""
    best = None
    for symbol in module.symbols:
        if symbol.section != section.name or symbol.value > offset or symbol.kind not in _NAMED_KINDS:
            continue
        covers = offset < symbol.value + symbol.size
        rank = (covers, symbol.value, symbol.kind == "FUNC", symbol.binding == "GLOBAL")
        if best is None or rank > best[0]:
            best = (rank, symbol)
    if best is None:
        return f"{section.name}+{offset:#x}"
    symbol = best[1]
    return f"{symbol.name}+{offset - symbol.value:#x}/{symbol.size:#x}"


def function_start(module: KernelModule, section: Section, offset: int) -> int:
    """Returns the offset of the last function that starts at or before an offset, 0 when there is none."""
    starts = [
        symbol.value
        for symbol in module.symbols
        if symbol.section == section.name and symbol.kind == "FUNC" and symbol.value <= offset
    ]
    return max(starts, default=0)


def source_line(symbolizer: Symbolizer, module: KernelModule, section: Section, offset: int) -> str:
    """Returns `file:line`, "" without debug information for that offset."""
    lines = symbolizer.lines_at(module.name, section.name, offset)
    return f"{lines[0].path}:{lines[0].line}" if lines else ""


def disassembly(code: bytes, address: int, start: int, size: int) -> tuple[str, ...]:
    """Returns the instructions of `code` that overlap `size` bytes from `start` on.

    code: bytes from the start of an instruction
    address: address of the first byte
    start: address of the first byte that matters
    size: number of bytes that matter
    """
    return tuple(
        f"{one.address:#x}: {one.data.hex(' '):<24} {one.text}"
        for one in instructions(code, address, past_data=True)
        if one.address < start + size and one.end > start
    )
