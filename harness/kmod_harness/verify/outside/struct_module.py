"""A module's `struct module` in guest memory: found from outside, and the addresses of blocks it holds."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping

from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.layout.predict import Layout
from kmod_harness.releases import facts
from kmod_harness.verify.outside.memory_types import block_bases

Read = Callable[[int, int], bytes]

#: `struct module` (include/linux/module.h, 6.1): state, list_head, char name[56].
_LIST_OFFSET, _NAME_OFFSET, _NAME_SIZE = 8, 24, 56
#: `Elf64_Rela`: offset, symbol index << 32 | type, addend.
_RELA = struct.Struct("<QQq")
_THIS_MODULE = ".gnu.linkonce.this_module"
#: More modules than any kernel loads: a longer list is broken, or is none.
_MOST_MODULES = 5000


def module_structs(read: Read, head: int) -> dict[str, int]:
    """Returns name -> address of `struct module`, by the kernel's list `modules` at `head`.

    The guest is not trusted: a list that does not return to its head ends after 5000 entries.
    """
    found: dict[str, int] = {}
    entry = int.from_bytes(read(head, 8), "little")
    for _ in range(_MOST_MODULES):
        if entry == head:
            break
        place = entry - _LIST_OFFSET
        name = read(place + _NAME_OFFSET, _NAME_SIZE).split(b"\0", 1)[0]
        found[name.decode(errors="replace")] = place
        entry = int.from_bytes(read(entry, 8), "little")
    return found


def find_struct(name: str, regions: Iterator[tuple[int, bytes]]) -> int | None:
    """Returns the address of the `struct module` of that name in runs of memory (address, bytes).

    Used for a kernel that shows no symbols. The struct is aligned to 64 bytes (`____cacheline_aligned`), live
    (state 0), and its list pointers lie in the kernel's half.
    """
    wanted = name.encode().ljust(_NAME_SIZE, b"\0")
    for address, data in regions:
        at = data.find(wanted)
        while at >= 0:
            start = at - _NAME_OFFSET
            if start >= 0 and (address + start) % 64 == 0 and _is_struct(data[start:at]):
                return address + start
            at = data.find(wanted, at + 1)
    return None


def _is_struct(start: bytes) -> bool:
    state = int.from_bytes(start[:4], "little")
    pointers = (start[8:16], start[16:24])
    return state == 0 and all(int.from_bytes(pointer, "little") >> 47 == 0x1FFFF for pointer in pointers)


def anchors_of(module: KernelModule, layout: Layout, place: int, read: Read) -> dict[str, int]:
    """Returns block -> address by the `struct module` at `place`, without asking the guest.

    The struct is a section of the block core (from 6.4 on, of data). From 6.4 on it also holds the addresses
    of the other blocks. Of init, which was freed, it still holds the address of the init function.
    """
    this = layout.place(_THIS_MODULE)
    if this is None:
        return {}
    found = {this.block: place - this.offset}
    if facts.MEMORY_TYPES.holds(layout.release):
        found |= block_bases(read(place, this.section.size), layout, found[this.block])
    init = _pointer_to(module, "init_module")
    if init is not None:
        offset, section, value = init
        target = next((p for p in layout.placed if p.section.index == section), None)
        address = int.from_bytes(read(place + offset, 8), "little")
        if target is not None and address and target.block not in found:
            found[target.block] = address - value - target.offset
    return found


def raw_relocations(
    module: KernelModule, target: int | None = None
) -> Iterator[tuple[int, int, int, int, int]]:
    """Yields section index, offset, type, symbol index and addend of each relocation, or of one section's.

    Takes a tenth of the time of kmod.relocation.relocations_of.
    """
    for section in module.sections:
        if section.type == "SHT_RELA" and target in (None, section.info):
            data = module.content(section)
            for offset, info, addend in _RELA.iter_unpack(data[: len(data) // _RELA.size * _RELA.size]):
                yield section.info, offset, info & 0xFFFFFFFF, info >> 32, addend


def _pointer_to(module: KernelModule, name: str) -> tuple[int, int, int] | None:
    """Returns the offset of a function's pointer in `struct module`, and the function's section and value."""
    this = module.section(_THIS_MODULE)
    if this is None:
        return None
    for _, offset, _, index, addend in raw_relocations(module, this.index):
        symbol = module.symbol_table[index]
        if symbol.name == name:
            return offset, symbol.section_index, symbol.value + addend
    return None


def compare_addresses(
    predicted: Mapping[int, int], module: KernelModule, shown: Mapping[str, int]
) -> list[tuple[str, int, int]]:
    """Returns the sections whose address in sysfs is not the predicted one: name, predicted, shown.

    sysfs identifies sections by name, and may show any of several that share one.
    """
    by_name: dict[str, set[int]] = {}
    for section in module.sections:
        if section.index in predicted:
            by_name.setdefault(section.name, set()).add(predicted[section.index])
    return [
        (name, min(by_name[name]), address)
        for name, address in shown.items()
        if name in by_name and address not in by_name[name]
    ]
