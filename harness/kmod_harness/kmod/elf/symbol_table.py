"""Every entry of a .ko file's symbol table by index, which relocations refer to."""

from __future__ import annotations

import struct
from typing import NamedTuple

SHN_UNDEF, SHN_LORESERVE, SHN_ABS, SHN_COMMON = 0, 0xFF00, 0xFFF1, 0xFFF2
#: Resolved by livepatch, not by the loader (include/uapi/linux/elf.h, 6.1).
SHN_LIVEPATCH = 0xFF20

#: `Elf64_Sym`: name, info, other, section index, value, size (System V ABI, chapter 4).
ELF64_SYM = struct.Struct("<IBBHQQ")
_BINDINGS = {0: "LOCAL", 1: "GLOBAL", 2: "WEAK"}
_KINDS = {0: "NOTYPE", 1: "OBJECT", 2: "FUNC", 3: "SECTION", 4: "FILE", 5: "COMMON", 6: "TLS"}


class TableSymbol(NamedTuple):
    """One entry of the table.

    name: its name, "" for most section symbols
    name_offset: byte of the name in the string table
    value: bytes from the start of its section
    size: bytes
    kind: the ELF standard's without prefix, or the number where it has no name
    binding: the ELF standard's without prefix, or the number where it has no name
    section_index: index as in the file, SHN_* included
    info: st_info
    other: st_other
    """

    name: str
    name_offset: int
    value: int
    size: int
    kind: str
    binding: str
    section_index: int
    info: int
    other: int


def parse_symbol_table(symbols: bytes, strings: bytes) -> tuple[TableSymbol, ...]:
    """Returns the entries of `.symtab` with names from its string table.

    Raises ValueError: a name lies outside the string table, or has no end.
    """
    whole = symbols[: len(symbols) // ELF64_SYM.size * ELF64_SYM.size]
    find = strings.find
    table: list[TableSymbol] = []
    for name_offset, info, other, section_index, value, size in ELF64_SYM.iter_unpack(whole):
        end = find(b"\0", name_offset)
        if end < 0 and not (name_offset == 0 and not strings):
            raise ValueError(f"symbol {len(table)}: its name at byte {name_offset} of the strings has no end")
        table.append(
            TableSymbol(
                strings[name_offset:end].decode("utf-8", "replace"),
                name_offset,
                value,
                size,
                _KINDS.get(info & 15) or str(info & 15),
                _BINDINGS.get(info >> 4) or str(info >> 4),
                section_index,
                info,
                other,
            )
        )
    return tuple(table)
