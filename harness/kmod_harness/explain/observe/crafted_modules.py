"""Module files that are wrong on purpose, made by changes of ELF bytes. Pure."""

from __future__ import annotations

import struct

from kmod_harness.errors import Misuse

#: `Elf64_Ehdr` fields used here (System V ABI, chapter 4).
_E_TYPE_AT = 16
_E_ENTRY_AT = 24
_E_SHOFF_AT = 40
_E_PHNUM_AT = 56
_E_SHENTSIZE_AT = 58
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYM = struct.Struct("<IBBHQQ")
_SHT_SYMTAB = 2
ET_EXEC = 2


def with_elf_type(data: bytes, elf_type: int) -> bytes:
    """Returns the file with another `e_type`: 1 is relocatable, 2 executable, 3 shared."""
    return data[:_E_TYPE_AT] + struct.pack("<H", elf_type) + data[_E_TYPE_AT + 2 :]


def elf_header(data: bytes) -> tuple[int, int, int]:
    """Returns `e_type`, `e_entry` and `e_phnum`."""
    (kind,) = struct.unpack_from("<H", data, _E_TYPE_AT)
    (entry,) = struct.unpack_from("<Q", data, _E_ENTRY_AT)
    (headers,) = struct.unpack_from("<H", data, _E_PHNUM_AT)
    return kind, entry, headers


def with_undefined_symbol_renamed(data: bytes, old: str, new: str) -> bytes:
    """Returns the file with its undefined symbol `old` renamed to `new`, which may be longer.

    The string table is copied to the file's end with the new name behind it. Raises Misuse when the module
    has no undefined symbol of that name.
    """
    headers = _section_headers(data)
    symtab = next((header for header in headers if header[1] == _SHT_SYMTAB), None)
    if symtab is None:
        raise Misuse("the module has no symbol table")
    strings = headers[symtab[6]]
    table = data[strings[4] : strings[4] + strings[5]]
    at = next(
        (
            where
            for where in range(symtab[4] + _SYM.size, symtab[4] + symtab[5], _SYM.size)
            if _SYM.unpack_from(data, where)[3] == 0 and _name(table, _SYM.unpack_from(data, where)[0]) == old
        ),
        None,
    )
    if at is None:
        raise Misuse(f"the module wants no symbol {old}", advice="`nm -u` lists what it wants")
    out = bytearray(data)
    struct.pack_into("<I", out, at, len(table))
    longer = table + new.encode() + b"\0"
    where = symtab[6]
    _put_header(out, data, where, (*strings[:4], len(data), len(longer), *strings[6:]))
    return bytes(out) + longer


def with_bytes_replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    """Returns the file with `old` replaced by `new`, padded with NULs to the same size.

    Raises Misuse when `old` does not occur, or `new` is longer.
    """
    if old not in data or len(new) > len(old):
        raise Misuse(f"cannot put {new!r} in the place of {old!r}")
    return data.replace(old, new.ljust(len(old), b"\0"))


def _section_headers(data: bytes) -> list[tuple[int, ...]]:
    (offset,) = struct.unpack_from("<Q", data, _E_SHOFF_AT)
    size, count = struct.unpack_from("<HH", data, _E_SHENTSIZE_AT)
    return [_SHDR.unpack_from(data, offset + i * size) for i in range(count)]


def _put_header(out: bytearray, data: bytes, index: int, fields: tuple[int, ...]) -> None:
    (offset,) = struct.unpack_from("<Q", data, _E_SHOFF_AT)
    (size,) = struct.unpack_from("<H", data, _E_SHENTSIZE_AT)
    _SHDR.pack_into(out, offset + index * size, *fields)


def _name(table: bytes, at: int) -> str:
    return table[at : table.index(b"\0", at)].decode(errors="replace")
