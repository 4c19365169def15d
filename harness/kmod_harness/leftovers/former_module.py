"""A module that is no longer loaded: where it lay, and what of it an address meant. Pure."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from kmod_harness.kmod.elf.module import KernelModule, Section
from kmod_harness.leftovers.known import TABLE_SECTIONS

_PAGE = 4096
#: Symbols of the padding before a function, which nothing calls (include/linux/linkage.h, 6.2 on).
_PADDING = ("__pfx_", "__cfi_")
#: `Elf64_Rela`: offset, symbol index << 32 | type, addend.
_RELA = struct.Struct("<QQq")


@dataclass(frozen=True)
class Target:
    """What an address in a module meant.

    section: name of its section
    symbol: function or variable, "" where none is known
    offset: bytes from its start
    is_code: whether it lies in executable memory
    """

    section: str
    symbol: str
    offset: int
    is_code: bool

    @property
    def is_entry(self) -> bool:
        """Whether it can be called or is data: not in the middle of a function, nor in a table about code."""
        if self.is_code:
            return bool(self.symbol) and self.offset == 0 and not self.symbol.startswith(_PADDING)
        return not self.section.startswith(TABLE_SECTIONS)


@dataclass(frozen=True)
class FormerModule:
    """A module and the addresses of its sections while it was loaded, as sysfs showed them."""

    file: KernelModule
    sections: Mapping[str, int]

    @property
    def name(self) -> str:
        return self.file.name

    @cached_property
    def ranges(self) -> tuple[range, ...]:
        """The pages that were the module's after its init, which are free now; ascending."""
        ends: list[list[int]] = []
        for start, section in sorted(self._placed, key=lambda placed: placed[0]):
            first, last = start & -_PAGE, -(-(start + section.size) // _PAGE) * _PAGE
            if ends and first <= ends[-1][1]:
                ends[-1][1] = max(last, ends[-1][1])
            else:
                ends.append([first, last])
        return tuple(range(first, last) for first, last in ends)

    def target_of(self, address: int) -> Target:
        """Returns what an address in the module meant."""
        section = next((s for start, s in self._placed if start <= address < start + s.size), None)
        if section is None:
            return Target("", "", 0, is_code=False)
        at = bisect_right(self._symbols, (address, "\x7f")) - 1
        if at < 0 or self._symbols[at][0] < self.sections[section.name]:
            return Target(section.name, "", 0, section.executable)
        start, name = self._symbols[at]
        return Target(section.name, name, address - start, section.executable)

    def calls_of(self, target: Target) -> tuple[str, ...]:
        """Returns the functions that a variable was built with pointers to, in order."""
        named = (symbol for symbol in self.file.symbols if symbol.name == target.symbol)
        symbol = next((one for one in named if one.section == target.section), None)
        section = self.file.section(target.section)
        if target.is_code or symbol is None or section is None:
            return ()
        found = []
        for table in self.file.sections:
            if table.type == "SHT_RELA" and table.info == section.index:
                data = self.file.content(table)
                for at, info, addend in _RELA.iter_unpack(data[: len(data) // _RELA.size * _RELA.size]):
                    if symbol.value <= at < symbol.value + symbol.size:
                        found.append(self._function(info >> 32, addend))
        return tuple(name for name in dict.fromkeys(found) if name)

    def _function(self, index: int, addend: int) -> str:
        symbol = self.file.symbol_table[index]
        if symbol.kind == "FUNC":
            return symbol.name
        for other in self.file.symbol_table:
            same = other.section_index == symbol.section_index and other.value == symbol.value + addend
            if same and other.kind == "FUNC" and symbol.kind == "SECTION":
                return other.name
        return ""

    @cached_property
    def _placed(self) -> list[tuple[int, Section]]:
        return [
            (self.sections[section.name], section)
            for section in self.file.sections
            if section.allocated and section.size and self.sections.get(section.name)
            if not section.init and ".percpu" not in section.name
        ]

    @cached_property
    def _symbols(self) -> list[tuple[int, str]]:
        """(address, name), ascending; functions and variables, not the compiler's own labels."""
        return sorted(
            (self.sections[symbol.section] + symbol.value, symbol.name)
            for symbol in self.file.symbols
            if symbol.section and self.sections.get(symbol.section) and symbol.kind in ("FUNC", "OBJECT")
        )
