"""The search of a stopped guest's memory for what still points to modules that were unloaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kmod_harness.leftovers.allocator.slabs import SlabObject
from kmod_harness.leftovers.former_module import FormerModule, Target
from kmod_harness.leftovers.known import (
    AREA_CACHES,
    DEAD_OBJECTS,
    HISTORY_MEMBERS,
    SECTIONS_TEXT,
    DeadObject,
    HistoryMember,
)
from kmod_harness.leftovers.stopped_kernel import StoppedKernel, Variable
from kmod_harness.leftovers.words import Word, words_into
from kmod_harness.leftovers.written_ram import WrittenRam
from kmod_harness.machine.memory.cpu_registers import parse_registers
from kmod_harness.machine.memory.kernel_place import kernel_slide
from kmod_harness.machine.memory.page_tables import PageTables, kernel_root

if TYPE_CHECKING:
    from kmod_harness.leftovers.kernel_data import KernelData
    from kmod_harness.machine.machine import Machine

#: Caches whose objects are for any use, and not wiped when they are given out.
_ANY_USE = "kmalloc-"


@dataclass(frozen=True)
class Pointer:
    """A word of the kernel's that points to a module that is gone.

    word: the word
    module: the module
    target: what it points to
    place: where the word lies
    where: the place in words
    is_linked: whether the object is one that was made for what it holds, as `find_pointers` knows it
    """

    word: Word
    module: FormerModule
    target: Target
    place: Variable | SlabObject
    where: str
    is_linked: bool = True

    @property
    def is_certain(self) -> bool:
        """Whether nothing that is merely slow to be freed can hold it."""
        return isinstance(self.place, Variable)


@contextlib.contextmanager
def stopped(machine: Machine) -> Iterator[None]:
    """Keeps the machine stopped in the block, if it ran before. Raises QemuDied."""
    ran = bool(machine.qmp("query-status")["running"])
    if ran:
        machine.qmp("stop")
    try:
        yield
    finally:
        if ran and machine.watch.qemu_is_alive():
            machine.qmp("cont")


def find_pointers(
    machine: Machine, data: KernelData, gone: Sequence[FormerModule], *, everywhere: bool = False
) -> list[Pointer]:
    """Returns what points to the modules that are gone; stops the machine for some milliseconds.

    everywhere: looks at all memory, since a module was loaded before the guest was saved; else at what the
    guest wrote

    An object of kmalloc may hold old values where its owner has not written yet. One counts as linked if it
    holds two pointers to the module, or if a variable of the kernel points to it, as the timer wheel does.

    Raises MachineFailure where the kernel's memory is not as expected.
    """
    with stopped(machine), WrittenRam(machine) as ram:
        memory = ram.whole if everywhere else ram.written
        words = words_into([span for module in gone for span in module.ranges], memory())
        if not words:
            return []
        kernel = kernel_in(machine, ram, data)
        found = list(_judged(words, kernel, data, gone))
        doubted = _doubted(found)
        if not doubted:
            return found
        owners = words_into([range(start, start + size) for start, size in doubted], memory())
        owned = {word.value for word in owners if isinstance(kernel.place_of(word.physical), Variable)}
        return [replace(one, is_linked=_is_linked(one, doubted, owned)) for one in found]


def _doubted(found: Iterable[Pointer]) -> set[tuple[int, int]]:
    """Returns (start, size) of the objects of kmalloc that hold a single pointer to a module."""
    held: dict[tuple[int, int], int] = {}
    for one in found:
        if isinstance(one.place, SlabObject) and one.place.cache.startswith(_ANY_USE):
            key = (one.place.start, one.place.size)
            held[key] = held.get(key, 0) + 1
    return {place for place, count in held.items() if count == 1}


def _is_linked(one: Pointer, doubted: set[tuple[int, int]], owned: set[int]) -> bool:
    if not isinstance(one.place, SlabObject) or (one.place.start, one.place.size) not in doubted:
        return True
    return any(one.place.start <= value < one.place.start + one.place.size for value in owned)


def kernel_in(machine: Machine, ram: WrittenRam, data: KernelData) -> StoppedKernel:
    """Returns the kernel of a machine that stands still. Raises UnmappedAddress, KernelNotFound, QemuDied."""
    cpu = parse_registers(machine.monitor("info registers"))[0]
    tables = PageTables(ram.read, kernel_root(ram.read, cpu.cr3), cpu.page_table_levels)
    slide = kernel_slide(tables, data.variables["_text"])
    return StoppedKernel(ram.read, tables, data, slide, machine.spec.cpus)


def _judged(
    words: Iterable[Word],
    kernel: StoppedKernel,
    data: KernelData,
    gone: Sequence[FormerModule],
) -> Iterator[Pointer]:
    for word in words:
        module = next(module for module in gone if any(word.value in span for span in module.ranges))
        target = module.target_of(word.value)
        if not target.is_entry:
            continue
        place = kernel.place_of(word.physical)
        if isinstance(place, SlabObject) and _is_history(kernel, data, place):
            continue
        if place is not None:
            where = kernel.name_of(place) if isinstance(place, Variable) else _named(place, data)
            yield Pointer(word, module, target, place, where)


def _is_history(kernel: StoppedKernel, data: KernelData, place: SlabObject) -> bool:
    """Whether an object in use holds a pointer that the kernel will not follow."""
    if place.cache in AREA_CACHES or _is_area(kernel, place) or _has_sections(kernel, place):
        return True
    if any(_is_dead(kernel, data, place, dead) for dead in DEAD_OBJECTS):
        return True
    return any(_is_of_history(kernel, data, place, history) for history in HISTORY_MEMBERS)


def _is_of_history(
    kernel: StoppedKernel, data: KernelData, place: SlabObject, history: HistoryMember
) -> bool:
    layout = data.layouts.get(history.structure)
    if layout is None or place.offset != layout.get(history.member) or place.size < layout[""]:
        return False
    beside = int.from_bytes(kernel.read(place.start + layout[history.beside], 8), "little")
    other = kernel.slab_of(beside)
    return other is not None and other.cache == history.cache and not other.is_free


def _is_dead(kernel: StoppedKernel, data: KernelData, place: SlabObject, dead: DeadObject) -> bool:
    layout = data.layouts.get(dead.structure)
    if layout is None or dead.sign not in layout or place.size < layout[""]:
        return False
    if dead.member and place.offset != layout.get(dead.member):
        return False
    sign = kernel.read(place.start + layout[dead.sign], dead.size)
    return int.from_bytes(sign, "little") in dead.values


def _has_sections(kernel: StoppedKernel, place: SlabObject) -> bool:
    """Whether the object is what sysfs knows of a module's sections."""
    name = int.from_bytes(kernel.read(place.start, 8), "little")
    return kernel.peek(name, len(SECTIONS_TEXT)) == SECTIONS_TEXT


def _is_area(kernel: StoppedKernel, place: SlabObject) -> bool:
    """Whether the words are the bounds of a range of addresses: both of whole pages, in order."""
    if place.offset not in (0, 8) or place.size < 16:
        return False
    start, end = (int.from_bytes(kernel.read(place.start + at, 8), "little") for at in (0, 8))
    return start % 4096 == 0 == end % 4096 and 0 < start < end and end >> 47 == 0x1FFFF


def _named(place: SlabObject, data: KernelData) -> str:
    return f"an object of {place.cache} at +{place.offset}"
