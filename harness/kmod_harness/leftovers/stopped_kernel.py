"""The memory of a stopped kernel, and in which of its structures a byte of RAM lies."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from kmod_harness.leftovers.allocator.pages import PAGE, Pages, Use
from kmod_harness.leftovers.allocator.slabs import SlabObject, Slabs
from kmod_harness.leftovers.kernel_data import KernelData
from kmod_harness.leftovers.loaded_modules import ModuleData, loaded_modules
from kmod_harness.machine.memory.kernel_place import direct_map_base
from kmod_harness.machine.memory.page_tables import PageTables, UnmappedAddress
from kmod_harness.machine.memory.physical import NotInRam

ReadPhysical = Callable[[int, int], bytes]
_ADDRESSES = (1 << 64) - 1
#: KASAN_SHADOW_OFFSET (arch/x86/Kconfig, 6.1).
_KASAN_SHADOW = 0xDFFFFC0000000000
#: End of the regions that KASLR places; above lie the CPU entry area and the kernel image.
_VMALLOC_LIMIT = 0xFFFFFE0000000000
#: Pages of a kernel stack (THREAD_SIZE, arch/x86/include/asm/page_64_types.h, 6.1), and with KASAN.
_STACK_PAGES = (4, 8)


@dataclass(frozen=True)
class Variable:
    """A place in the kernel's variables.

    linked: its linked address; of a per-CPU variable, that in the kernel's image; of a module's, its address
    cpu: the CPU whose copy it is, None for a variable that all share
    module: name of the loaded module whose variable it is, "" for the kernel's
    """

    linked: int
    cpu: int | None = None
    module: str = ""


class StoppedKernel:
    """A kernel whose machine stands still.

    read: function that reads physical memory
    tables: the kernel's page tables
    data: what is known of the kernel
    slide: KASLR's slide in bytes
    cpus: number of CPUs

    Raises UnmappedAddress, NotInRam from every method, where the kernel's memory is not as expected.
    """

    def __init__(
        self, read: ReadPhysical, tables: PageTables, data: KernelData, slide: int, cpus: int
    ) -> None:
        self._physical = read
        self._tables = tables
        self._data = data
        self._slide = slide
        self.direct_map = direct_map_base(tables)
        offsets = self.read(data.variables["__per_cpu_offset"] + slide, 8 * cpus)
        self._cpus = struct.unpack(f"<{cpus}Q", offsets)
        section = data.variables["mem_section"] + slide
        self.pages = Pages(self.read, data.layouts, data.constants, section)
        self.slabs = Slabs(self.read, data.layouts, self.direct_map, self._cpus)

    def read(self, address: int, size: int) -> bytes:
        """Returns bytes of the kernel's virtual memory."""
        parts = []
        while size > 0:
            page = self._tables.page(address)
            here = min(size, page.end - address)
            parts.append(self._physical(page.physical_of(address), here))
            address, size = address + here, size - here
        return b"".join(parts)

    def variable(self, name: str) -> int:
        """Returns the word in a variable, 0 for one that is not known."""
        place = self.address(name)
        return int.from_bytes(self.read(place, 8), "little") if place else 0

    def address(self, name: str) -> int:
        """Returns where a variable lies, 0 for one that is not known."""
        linked = self._data.variables.get(name)
        return 0 if linked is None else linked + self._slide

    def peek(self, address: int, size: int) -> bytes:
        """Returns bytes of the kernel's virtual memory, b"" where nothing is mapped."""
        try:
            return self.read(address, size)
        except (UnmappedAddress, NotInRam):
            return b""

    def place_of(self, physical: int) -> Variable | SlabObject | None:
        """Returns what of the kernel's own a byte of RAM lies in: a variable, or a slab object in use.

        None for what is free, a program's, a file's, a stack, or a whole page of the kernel's: these hold old
        values, which nobody has wiped and nobody will follow.
        """
        page = self.pages.use_of(physical // PAGE)
        if page.use is Use.SLAB:
            # KFENCE takes the page of an object that was freed out of the tables
            if self._tables.find(self.direct_map + physical) is None:
                return None
            found = self.slabs.object_at(physical, page)
            return None if found is None or found.is_free or self._is_in_quarantine(found) else found
        return self._variable_at(physical) if page.use is Use.KERNEL else None

    def holds(self, physical: int) -> bool:
        """Whether the kernel uses what a byte of RAM lies in: an object in use, a page that is no stack."""
        page = self.pages.use_of(physical // PAGE)
        if page.use is Use.SLAB:
            found = self.slabs.object_at(physical, page)
            return found is not None and not found.is_free and not self._is_in_quarantine(found)
        return page.use is Use.KERNEL and physical // PAGE not in self._stacks

    def slab_of(self, address: int) -> SlabObject | None:
        """Returns the slab object at an address of the direct map, in use or free; None elsewhere."""
        physical = address - self.direct_map
        if physical < 0 or self._tables.find(address) is None:
            return None
        page = self.pages.use_of(physical // PAGE)
        return self.slabs.object_at(physical, page) if page.use is Use.SLAB else None

    def name_of(self, variable: Variable) -> str:
        """Returns `net_families+0x118`, `timer_bases+0x368 of CPU 0` or `the data of failover`."""
        if variable.module:
            return f"the data of {variable.module}"
        names = self._data.names()
        at = bisect_right(names, (variable.linked, "\x7f")) - 1
        start, name = names[at] if at >= 0 else (variable.linked, "?")
        offset = f"+{variable.linked - start:#x}" if variable.linked > start else ""
        return f"{name}{offset}" + ("" if variable.cpu is None else f" of CPU {variable.cpu}")

    def _is_in_quarantine(self, item: SlabObject) -> bool:
        """Whether KASAN keeps an object that was freed: its shadow forbids the byte."""
        if not self.address("global_quarantine"):
            return False
        shadow = self.peek((item.start + item.offset >> 3) + _KASAN_SHADOW & _ADDRESSES, 1)
        return bool(shadow) and shadow[0] >= 0x80

    def _variable_at(self, physical: int) -> Variable | None:
        of = self._data.variables
        image = physical - self._image
        if 0 <= image < of["_end"] - of["_text"]:
            return self._unless_known(Variable(image + of["_text"]))
        for cpu, offset in enumerate(self._cpus):
            inside = (self.direct_map + physical - offset) & _ADDRESSES
            # linked at 0 up to 6.14, in the image since
            for linked in (inside, inside - self._slide):
                if of["__per_cpu_start"] <= linked < of["__per_cpu_end"]:
                    return self._unless_known(Variable(linked, cpu))
        virtual, module = self._module_pages.get(physical // PAGE, (0, None))
        place = virtual + physical % PAGE
        # the kernel's record of a module has the address of its init, which is gone
        if module is None or place not in module.memory or place in module.own:
            return None
        return Variable(place, module=module.name)

    def _unless_known(self, variable: Variable) -> Variable | None:
        return None if any(variable.linked in known for known in self._data.known) else variable

    @cached_property
    def _module_pages(self) -> dict[int, tuple[int, ModuleData]]:
        """Page number -> (virtual address, module) of the pages with the variables of loaded modules."""
        found = {}
        for module in loaded_modules(self.read, self._data.layouts, self.address("modules")):
            for virtual in range(module.memory.start & -PAGE, module.memory.stop, PAGE):
                page = self._tables.find(virtual)
                if page is not None:
                    found[page.physical_of(virtual) // PAGE] = (virtual, module)
        return found

    @cached_property
    def _stacks(self) -> frozenset[int]:
        """The numbers of pages that are mapped, behind the direct map, in runs of a stack's size."""
        start = self.direct_map
        while (page := self._tables.find(start)) is not None:
            start = page.end
        found: list[int] = []
        run: list[int] = []
        end = 0
        for part in self._tables.parts(start, _VMALLOC_LIMIT):
            if part.virtual != end:
                found += run if len(run) in _STACK_PAGES else []
                run = []
            run.append(part.physical // PAGE)
            end = part.end
        return frozenset(found + (run if len(run) in _STACK_PAGES else []))

    @cached_property
    def _image(self) -> int:
        start = self._data.variables["_text"] + self._slide
        return self._tables.page(start).physical_of(start)
