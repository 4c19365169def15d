"""A module's file in a form that gdb reads: not compressed, and with no address in any section.

The sections of a relocatable file have address 0, but those of modules from 6.10 on may not: the linker
script names no address for the sections it merges (`.data`, scripts/module.lds.S, 6.12.118). gdb 13 and 16
take such a file for one that is placed already, and every address outside of `.text` is then wrong.
"""

from __future__ import annotations

import struct
from pathlib import Path

from kmod_harness.kmod.elf.ko_file import module_bytes
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.elf.split_debug import debug_file_of

#: `Elf64_Ehdr` (System V ABI, 4): e_shoff; e_shentsize and e_shnum.
_TABLE_AT, _TABLE_SIZE_AT = 0x28, 0x3A
#: sh_addr in `Elf64_Shdr`, and the header's size.
_ADDRESS_AT, _HEADER_SIZE = 0x10, 64


def without_section_addresses(data: bytes) -> bytes:
    """Returns a 64-bit little-endian relocatable file with sh_addr 0 in every section header."""
    (table,) = struct.unpack_from("<Q", data, _TABLE_AT)
    size, count = struct.unpack_from("<HH", data, _TABLE_SIZE_AT)
    if size != _HEADER_SIZE:
        return data
    changed = bytearray(data)
    for number in range(count):
        struct.pack_into("<Q", changed, table + number * size + _ADDRESS_AT, 0)
    return bytes(changed)


def file_for_gdb(module: KernelModule, directory: Path) -> Path:
    """Returns the path of the module's own file if gdb can read it, else of a copy made in `directory`.

    Of a module whose debug information was split from it the copy is of that.
    """
    split = debug_file_of(module)
    # it has the sections' headers and symbols too; gdb reads the code from the guest
    data = without_section_addresses(module_bytes(split) if split is not None else module.data)
    if module.path.is_file() and module.path.read_bytes() == data:
        return module.path.absolute()
    directory.mkdir(exist_ok=True)
    copy = directory / f"{module.name}.ko"
    copy.write_bytes(data)
    return copy
