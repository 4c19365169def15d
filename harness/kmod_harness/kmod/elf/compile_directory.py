"""The directory that a module was compiled in: its sources are named relative to it from Linux 6.13 on."""

from __future__ import annotations

import io
from typing import Any

#: Where the strings of these forms lie (DWARF 5, 7.5.5).
_STRINGS = {"DW_FORM_line_strp": ".debug_line_str", "DW_FORM_strp": ".debug_str"}


def compile_directory(data: bytes) -> str:
    """Returns the directory in which the first source of a .ko was compiled; "" where the file does not say.

    data: the file, whose debug information is not relocated: of its many relocations one is applied here,
        which takes a millisecond, where all take a second.
    """
    from elftools.common.exceptions import DWARFError, ELFError  # lazy
    from elftools.elf.elffile import ELFFile  # lazy

    try:
        elf = ELFFile(io.BytesIO(data))
        if not elf.has_dwarf_info():
            return ""
        unit = next(elf.get_dwarf_info(relocate_dwarf_sections=False).iter_CUs(), None)
        named = unit.get_top_DIE().attributes.get("DW_AT_comp_dir") if unit else None
        return _text(elf, named) if named else ""
    except (ELFError, DWARFError, LookupError, ValueError):
        return ""


def _text(elf: Any, named: Any) -> str:
    strings = elf.get_section_by_name(_STRINGS.get(named.form, ""))
    if strings is None:
        return str(named.value.decode(errors="replace")) if isinstance(named.value, bytes) else ""
    rela = elf.get_section_by_name(".rela.debug_info")
    relocations = rela.iter_relocations() if rela is not None else ()
    start = next(
        (item["r_addend"] for item in relocations if item["r_offset"] == named.offset), named.raw_value
    )
    return str(strings.data()[start:].partition(b"\0")[0].decode(errors="replace"))
