"""The place of a module's per-CPU section, which neither sysfs nor the page tables show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.link.relocation import FORMULAS
from kmod_harness.verify.outside.struct_module import raw_relocations

Read = Callable[[int, int], bytes]

_THIS_MODULE = ".gnu.linkonce.this_module"


def percpu_base(
    module: KernelModule, percpu: int, place: int, addresses: Mapping[int, int], read: Read
) -> int | None:
    """Returns the section's offset in each CPU's area; None where nothing tells it.

    module: file of the module
    percpu: index of the section
    place: address of the `struct module`
    addresses: section index -> address
    read: function that reads memory

    It is computed from the first per-CPU relocation in memory, and accepted if `struct module` holds it too:
    `mod->percpu` (include/linux/module.h, 6.1) has no fixed offset, but must be one of the struct's words.
    """
    table = module.symbol_table
    this = module.section(_THIS_MODULE)
    for section, offset, kind, index, addend in raw_relocations(module):
        if table[index].section_index != percpu or module.sections[section].init:
            continue
        if this is None or section not in addresses or kind not in FORMULAS:
            continue
        struct = read(place, this.size)
        words = {struct[at : at + 8] for at in range(0, len(struct) - 7, 8)}
        formula = FORMULAS[kind]
        where = addresses[section] + offset
        # 32 bits are sign-extended
        now = int.from_bytes(read(where, formula.size), "little", signed=True)
        base = now - addend - table[index].value + (where if formula.relative else 0)
        base &= (1 << 64) - 1
        return base if base.to_bytes(8, "little") in words else None
    return None
