"""From an address in a module to symbol+offset, source line and instruction: what a finding is shown with."""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..kmod.elf import KernelModule, Section

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

#: `Elf64_Sym`: name, info, other, section index, value, size.
_SYMBOL = struct.Struct("<IBBHQQ")
#: Distance put between a relocatable file's sections, which all start at 0, to tell their addresses apart.
_APART = 1 << 32
_NAMED_KINDS = ("FUNC", "OBJECT", "NOTYPE")


def symbol_at(module: KernelModule, section: Section, offset: int) -> str:
    """Returns `name+0x12/0x40` for a place in a section; the section's name where no symbol precedes it."""
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
    """Returns the offset of the last function that starts at or before a place, 0 when there is none."""
    starts = [
        symbol.value
        for symbol in module.symbols
        if symbol.section == section.name and symbol.kind == "FUNC" and symbol.value <= offset
    ]
    return max(starts, default=0)


def source_line(module: KernelModule, section: Section, offset: int) -> str:
    """Returns `file:line` from the module's DWARF, "" without debug information for that place."""
    if not module.has_debug_info:
        return ""
    addresses, lines = _line_table(module.data)
    index = bisect_right(addresses, section.index * _APART + offset) - 1
    if index < 0 or addresses[index] // _APART != section.index:
        return ""
    return lines[index]


@lru_cache(maxsize=4)
def _line_table(data: bytes) -> tuple[list[int], list[str]]:
    """Sorted addresses, sections moved apart, and the `file:line` from each on, "" behind the last."""
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(_moved_apart(data)))
    rows = sorted(_rows(elf))
    return [address for address, _ in rows], [line for _, line in rows]


def _rows(elf: ELFFile) -> Iterable[tuple[int, str]]:
    dwarf = elf.get_dwarf_info(relocate_dwarf_sections=True)
    for unit in dwarf.iter_CUs():
        program = dwarf.line_program_for_CU(unit)
        if program is None:
            continue
        for entry in program.get_entries():
            state = entry.state
            if state is not None:
                name = "" if state.end_sequence else f"{_file_name(program, state.file)}:{state.line}"
                yield state.address, name


def _file_name(program: Any, number: int) -> str:
    """The path of a line program's file: numbers count from 0 in DWARF 5, from 1 before."""
    header = program.header
    shift = 0 if header["version"] >= 5 else 1
    files, directories = header["file_entry"], header["include_directory"]
    if not 0 <= number - shift < len(files):
        return "?"
    file = files[number - shift]
    directory = file.dir_index - shift
    path: str = file.name.decode(errors="replace")
    if path.startswith("/") or not 0 <= directory < len(directories):
        return path
    return f"{directories[directory].decode(errors='replace')}/{path}"


def _moved_apart(data: bytes) -> bytes:
    """The file with symbols moved by their section's number, so that DWARF addresses tell sections."""
    moved = bytearray(data)
    headers, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    for number in range(count):
        _, kind, _, _, offset, size = struct.unpack_from("<IIQQQQ", data, headers + 64 * number)
        if kind != 2:  # SHT_SYMTAB
            continue
        for at in range(offset, offset + size, _SYMBOL.size):
            name, info, other, section, value, length = _SYMBOL.unpack_from(data, at)
            if 0 < section < count and not _is_debug(data, headers, section):
                _SYMBOL.pack_into(moved, at, name, info, other, section, value + section * _APART, length)
    return bytes(moved)


def _is_debug(data: bytes, headers: int, section: int) -> bool:
    """Sections that take no memory hold offsets, not addresses."""
    return not struct.unpack_from("<Q", data, headers + 64 * section + 8)[0] & 2  # SHF_ALLOC


def disassembly(code: bytes, address: int, start: int, size: int) -> tuple[str, ...]:
    """Returns the instructions of `code` that touch `size` bytes from `start` on; () without capstone.

    code: bytes from an instruction's first byte on, at `address`; start: an address.
    """
    try:
        import capstone
    except ImportError:
        return ()
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.skipdata = True
    return tuple(
        f"{at:#x}: {code[at - address : at - address + length].hex(' '):<24} {name} {operands}".rstrip()
        for at, length, name, operands in engine.disasm_lite(code, address)
        if at < start + size and at + length > start
    )


def has_disassembler() -> bool:
    """True when capstone is installed."""
    from importlib.util import find_spec

    return find_spec("capstone") is not None
