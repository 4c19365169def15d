"""A .ko file's symbol table entry by entry, as relocations refer to it: by index, nothing left out."""

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
    """One entry: section_index as in the file (SHN_* included), value in bytes from that section's start.

    `name` is "" for most section symbols, `name_offset` its byte in the string
    table; kind and binding are the ELF standard's without prefix, or the
    number where it has no name for it.
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
    """Reads `.symtab` with its string table.

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
