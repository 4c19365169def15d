"""Tables that the kernel sorts in place, and fields of a module that are written while it runs.

kernel/extable.c and lib/extable.c, arch/x86/kernel/unwind_orc.c, kernel/trace/ftrace.c, lib/bug.c, 6.1.192
and 6.12.118.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from kmod_harness.kmod.elf.module import SHF_WRITE
from kmod_harness.kmod.link.relocation import LinkedModule
from kmod_harness.releases import facts
from kmod_harness.verify.image import AllowedChange, ModuleImage, SectionImage
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.patch.sorting import kernel_sort

#: `struct exception_table_entry` (arch/x86/include/asm/extable.h, 6.1): two relative addresses, data.
_EXCEPTION = struct.Struct("<iiI")
_ORC_SIZE = 6
#: BUGFLAG_ONCE and BUGFLAG_DONE (include/asm-generic/bug.h, 6.1).
_ONCE, _DONE = 1 << 1, 1 << 2
#: Sections that are writable by their flags, but predicted byte by byte or field by field.
_REPRODUCED = frozenset(("__jump_table", ".static_call_sites", "__bug_table"))
_SORTED = frozenset(
    ("__jump_table", ".static_call_sites", "__ex_table", "__mcount_loc", ".orc_unwind_ip", ".orc_unwind")
)
_NAME_OFFSET = 24  # `name` in `struct module`, behind the state and a list_head (include/linux/module.h, 6.1)


def sort_exception_table(image: ModuleImage, release: tuple[int, int]) -> None:
    """Sorts `__ex_table` by the address of the instruction."""
    entries = []
    for address, data in image.words("__ex_table", _EXCEPTION.size):
        instruction, fixup, extra = _EXCEPTION.unpack(data)
        entries.append((address + instruction, address + 4 + fixup, extra))
    ordered = kernel_sort(entries, lambda a, b: (a[0] > b[0]) - (a[0] < b[0]), release)
    table = image.section("__ex_table")
    for number, (instruction, fixup, extra) in enumerate(ordered):
        assert table is not None
        at = table.address + number * _EXCEPTION.size
        image.write(at, _EXCEPTION.pack(instruction - at, fixup - at - 4, extra), Mechanism.EXCEPTION_TABLE)


def sort_mcount_table(image: ModuleImage) -> None:
    """Sorts the addresses in `__mcount_loc`."""
    words = [data for _, data in image.words("__mcount_loc", 8)]
    table = image.section("__mcount_loc")
    if table is not None:
        ordered = sorted(words, key=lambda data: int.from_bytes(data, "little"))
        image.write(table.address, b"".join(ordered), Mechanism.MCOUNT)


class _Orc(NamedTuple):
    address: int
    entry: bytes
    is_weak: bool


def _is_weak(entry: bytes, release: tuple[int, int]) -> bool:
    """Returns whether an entry terminates a section; a real entry at the same address takes precedence.

    Its type is undefined; up to 6.3 it has no stack.
    """
    if facts.ORC_TYPES.holds(release):
        return not entry[5] & 7
    return not entry[4] & 0xF and not entry[5] >> 2 & 1


def sort_orc_tables(image: ModuleImage, release: tuple[int, int]) -> None:
    """Sorts `.orc_unwind_ip` by address, and `.orc_unwind` in the same order."""
    addresses, table = image.section(".orc_unwind_ip"), image.section(".orc_unwind")
    if addresses is None or table is None:
        return
    offsets = [item for (item,) in struct.iter_unpack("<i", bytes(addresses.data))]
    places = range(addresses.address, addresses.address + 4 * len(offsets), 4)
    parts = [bytes(table.data[at : at + _ORC_SIZE]) for at in range(0, len(table.data), _ORC_SIZE)]
    entries = [
        _Orc(place + offset, entry, _is_weak(entry, release))
        for place, offset, entry in zip(places, offsets, parts, strict=False)
    ]
    ordered = _sorted_orc(entries, release)
    packed = struct.pack(
        f"<{len(ordered)}i", *(orc.address - place for orc, place in zip(ordered, places, strict=False))
    )
    image.write(addresses.address, packed, Mechanism.ORC)
    image.write(table.address, b"".join(orc.entry for orc in ordered), Mechanism.ORC)


def _sorted_orc(entries: list[_Orc], release: tuple[int, int]) -> list[_Orc]:
    """Returns the entries as orc_sort_cmp orders them: at one address a weak entry comes first.

    That leaves one order, which any sort finds, unless an address has two real entries of different content,
    or two weak ones: then the order depends on the kernel's own sort.
    """
    ordered = sorted(entries, key=lambda orc: (orc.address, not orc.is_weak))
    for _, group in groupby(ordered, key=lambda orc: (orc.address, orc.is_weak)):
        if len(set(group)) > 1:
            return kernel_sort(entries, _compare_orc, release)
    return ordered


def _compare_orc(a: _Orc, b: _Orc) -> int:
    if a.address != b.address:
        return 1 if a.address > b.address else -1
    return -1 if a.is_weak else 1


def allow_bug_flags(image: ModuleImage, linked: LinkedModule) -> None:
    """Allows the bit of each `__bug_table` entry by which WARN_ON_ONCE notes that it has warned."""
    table = image.section("__bug_table")
    if table is None:
        return
    # with DEBUG_BUGVERBOSE an entry also holds the file and line: a second relocation, at offset 4
    verbose = any(bound.where == table.address + 4 for bound in linked.relocations)
    size, at = (12, 10) if verbose else (8, 4)
    for address, data in image.words("__bug_table", size):
        (flags,) = struct.unpack_from("<H", data, at)
        if flags & _ONCE:
            done = struct.pack("<H", flags | _DONE)
            image.allow(AllowedChange(address + at, 2, Mechanism.BUG_FLAG, done.__eq__))


def allow_tables(image: ModuleImage, mechanism: Mechanism) -> None:
    """Allows any change of the tables that are sorted in place or written back to."""
    for part in image.sections:
        if part.section.name in (*_SORTED, ".altinstructions"):
            image.allow(AllowedChange(part.address, len(part.linked), mechanism))


def allow_unknown(image: ModuleImage, unknown: Sequence[AllowedChange]) -> None:
    """Allows any change of fields with a hidden symbol, and of the tables that are sorted by such fields."""
    for allowed in unknown:
        image.allow(allowed)
    for part in {
        part.address: part for part in map(image.at, (one.start for one in unknown)) if part
    }.values():
        if part.section.name in _SORTED:
            image.allow(AllowedChange(part.address, len(part.linked), Mechanism.HIDDEN_SYMBOL))


def allow_written_data(image: ModuleImage, linked: LinkedModule) -> None:
    """Allows changes of writable sections, which running code writes: the module's own and the kernel's."""
    for part in image.sections:
        name = part.section.name
        if part.section.init or not part.section.flags & SHF_WRITE or name in _REPRODUCED:
            continue
        if name == ".gnu.linkonce.this_module":
            for allowed in _struct_module(part, linked):
                image.allow(allowed)
        else:
            mechanism = Mechanism.RO_AFTER_INIT if name == ".data..ro_after_init" else Mechanism.DATA
            image.allow(AllowedChange(part.address, len(part.linked), mechanism))


def _struct_module(part: SectionImage, linked: LinkedModule) -> Iterator[AllowedChange]:
    """Yields the parts of `struct module` that may change: all but the pointers to init and exit."""
    name = linked.module.name.encode() + b"\0"
    kept = [(bound.where, bound.where + bound.size) for bound in linked.relocations]
    at = part.address
    for start, end in sorted(field for field in kept if part.address <= field[0] < part.end):
        yield _part_of_struct(part, at, start, name)
        at = end
    yield _part_of_struct(part, at, part.end, name)


def _part_of_struct(part: SectionImage, start: int, end: int, name: bytes) -> AllowedChange:
    """Returns a change of these bytes that keeps the module's name where they hold it."""
    offset = part.address + _NAME_OFFSET - start
    holds_name = 0 <= offset < end - start

    def accepts(now: bytes) -> bool:
        return not holds_name or now[offset:].startswith(name)

    return AllowedChange(start, end - start, Mechanism.THIS_MODULE, accepts)
