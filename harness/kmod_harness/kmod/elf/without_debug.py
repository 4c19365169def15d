"""A module without its debug information: most of a large file, and nothing that the kernel looks at."""

from __future__ import annotations

import struct

from kmod_harness.kmod.elf.module import KernelModule, Section

#: `Elf64_Ehdr` (System V ABI, 4): where e_shoff lies; the header's size.
_TABLE_AT, _FILE_HEADER = 0x28, 64
#: Places in `Elf64_Shdr`: sh_type, sh_offset, sh_size; the header's size.
_TYPE_AT, _OFFSET_AT, _SIZE_AT, _HEADER_SIZE = 4, 24, 32, 64
_SHT_NOBITS = 8


def without_debug(module: KernelModule) -> bytes:
    """Returns the module's file with its debug sections empty; all sections keep their numbers.

    The file itself where it has none, and where it is signed: the signature is of every byte.
    """
    dropped = {section.index for section in module.sections if _is_debug(section, module.sections)}
    if not dropped or module.signed:
        return module.data
    (table,) = struct.unpack_from("<Q", module.data, _TABLE_AT)
    headers = bytearray(module.data[table : table + _HEADER_SIZE * len(module.sections)])
    kept = bytearray(module.data[:_FILE_HEADER])
    for section in module.sections:
        at = section.index * _HEADER_SIZE
        if section.index in dropped:
            struct.pack_into("<I", headers, at + _TYPE_AT, _SHT_NOBITS)
            struct.pack_into("<Q", headers, at + _SIZE_AT, 0)
        kept += bytes(-len(kept) % max(section.alignment, 1))
        struct.pack_into("<Q", headers, at + _OFFSET_AT, len(kept) if section.index else 0)
        kept += b"" if section.index in dropped else module.content(section)
    kept += bytes(-len(kept) % 8)
    struct.pack_into("<Q", kept, _TABLE_AT, len(kept))
    return bytes(kept + headers)


def _is_debug(section: Section, sections: tuple[Section, ...]) -> bool:
    if section.allocated or section.type == "SHT_NOBITS":
        return False
    named = sections[section.info] if section.type == "SHT_RELA" and section.info < len(sections) else section
    return named.name.startswith((".debug_", ".zdebug_"))
