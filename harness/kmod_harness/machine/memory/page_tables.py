"""Page tables of x86-64, walked without the CPU: four and five levels, pages of 4 KiB, 2 MiB and 1 GiB.

Intel SDM volume 3, 4.5 (4-level and 5-level paging). A page's permissions combine those of all levels: it is
writable where every entry allows it, executable where none forbids it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from kmod_harness.errors import MachineFailure

#: Reads (address, size) of physical memory; raises where there is no RAM.
ReadPhysical = Callable[[int, int], bytes]

PAGE = 4096
_PRESENT, _WRITE, _USER, _LARGE, _NO_EXECUTE = 1, 1 << 1, 1 << 2, 1 << 7, 1 << 63
#: Bits 51..12 of an entry: the physical address of a page or table.
_FRAME = 0x000FFFFFFFFFF000
#: CR3's bit that selects a process's user tables instead of its kernel ones, PTI_USER_PGTABLE_BIT
#: (arch/x86/include/asm/pgtable.h, 6.1): the two tables are adjacent.
_PTI_USER = 1 << 12
#: Top-level entries of the direct map, vmalloc and vmemmap: those between the LDT's and the CPU entry area's
#: (Documentation/x86/x86_64/mm.rst, 6.1). A kernel table has at least one for each; a user table has only
#: that of the per-CPU pages with the TSS (arch/x86/mm/pti.c, 6.1: pti_clone_user_shared).
_KERNEL_REGIONS, _FEWEST_ENTRIES = slice(273, 508), 3

_TABLE = struct.Struct("<512Q")


class UnmappedAddress(MachineFailure):
    """A virtual address that the guest's page tables do not map."""

    def __init__(self, address: int, message: str = "", **more: str) -> None:
        super().__init__(message or f"{address:#x} is not mapped in the guest's page tables", **more)
        self.address = address


@dataclass(frozen=True)
class Page:
    """One mapped page.

    virtual: virtual address of its first byte
    physical: physical address of its first byte
    size: bytes
    writable: whether it may be written
    executable: whether it may be executed
    user: whether user mode may access it
    """

    virtual: int
    physical: int
    size: int
    writable: bool
    executable: bool
    user: bool

    @property
    def permissions(self) -> str:
        """Such as `r-x` and `rw-`; on x86-64 every present page is readable."""
        return f"r{'w' if self.writable else '-'}{'x' if self.executable else '-'}"

    @property
    def end(self) -> int:
        """The virtual address behind it."""
        return self.virtual + self.size

    def physical_of(self, virtual: int) -> int:
        """Returns the physical address of one of its bytes."""
        return self.physical + virtual - self.virtual

    def slice(self, start: int, end: int) -> Page:
        """Returns the part of the page that lies in start..end, which must overlap it."""
        first, last = max(start, self.virtual), min(end, self.end)
        return replace(self, virtual=first, physical=self.physical_of(first), size=last - first)


class PageTables:
    """The page tables below one root, of a stopped machine; each is read once.

    read: function that reads physical memory
    root: physical address of the top table
    levels: 4 or 5
    no_execute: EFER.NXE
    """

    def __init__(self, read: ReadPhysical, root: int, levels: int, *, no_execute: bool = True) -> None:
        self.root = root
        self.levels = levels
        self._read = read
        self._forbids_execution = _NO_EXECUTE if no_execute else 0
        self._tables: dict[int, tuple[int, ...]] = {}
        #: (address, level) of tables that map nothing
        self._empty: set[tuple[int, int]] = set()

    def find(self, address: int) -> Page | None:
        """Returns the page that holds an address, None where nothing is mapped.

        Raises what `read` raises when an entry points outside RAM: the guest is not trusted.
        """
        if address != _canonical(address, self.levels):
            return None
        table, flags = self.root, _WRITE | _USER
        for level in range(self.levels, 0, -1):
            shift = 12 + 9 * (level - 1)
            entry = self._table(table)[address >> shift & 511]
            if not entry & _PRESENT:
                return None
            flags = _together(flags, entry)
            if level == 1 or (entry & _LARGE and level <= 3):
                return self._page(address >> shift << shift, entry, shift, flags)
            table = entry & _FRAME
        raise AssertionError("level 1 always returns")

    def page(self, address: int) -> Page:
        """Returns the page that holds an address. Raises UnmappedAddress."""
        page = self.find(address)
        if page is None:
            raise UnmappedAddress(address)
        return page

    def walk(self, start: int, end: int) -> Iterator[Page]:
        """Yields the mapped pages that overlap start..end, ascending, each whole."""
        yield from self._walk(self.root, self.levels, 0, _WRITE | _USER, start, end)

    def parts(self, start: int, end: int) -> Iterator[Page]:
        """Yields what is mapped of start..end in parts of 4 KiB, ascending, also of large pages."""
        for page in self.walk(start, end):
            for virtual in range(max(start & -PAGE, page.virtual), min(end, page.end), PAGE):
                yield page.slice(virtual, virtual + PAGE)

    def _walk(self, table: int, level: int, base: int, flags: int, start: int, end: int) -> Iterator[Page]:
        shift = 12 + 9 * (level - 1)
        for index, entry in enumerate(self._table(table)):
            if not entry & _PRESENT:
                continue
            virtual = base | index << shift
            if level == self.levels:
                virtual = _canonical(virtual, self.levels)
            if virtual >= end:
                return
            if virtual + (1 << shift) <= start:
                continue
            together = _together(flags, entry)
            if level == 1 or (entry & _LARGE and level <= 3):
                yield self._page(virtual, entry, shift, together)
            elif (entry & _FRAME, level - 1) not in self._empty:
                below = self._walk(entry & _FRAME, level - 1, virtual, together, start, end)
                page = next(below, None)
                if page is not None:
                    yield page
                    yield from below
                elif start <= virtual and virtual + (1 << shift) <= end:
                    # a guest could make every entry of every table point to it: 2**27 visits
                    self._empty.add((entry & _FRAME, level - 1))

    def _page(self, virtual: int, entry: int, shift: int, flags: int) -> Page:
        # of a large page, bit 12 is its memory type and those up to its size are reserved
        return Page(
            virtual,
            entry & _FRAME & -(1 << shift),
            1 << shift,
            writable=bool(flags & _WRITE),
            executable=not flags & self._forbids_execution,
            user=bool(flags & _USER),
        )

    def _table(self, address: int) -> tuple[int, ...]:
        table = self._tables.get(address)
        if table is None:
            table = self._tables[address] = _TABLE.unpack(self._read(address, PAGE))
        return table


def kernel_root(read: ReadPhysical, cr3: int) -> int:
    """Returns the physical address of the top table that maps the kernel.

    read: function that reads physical memory
    cr3: CR3 of a CPU

    In the kernel, CR3 points to that table. In user mode, and in the first instructions of an entry, a kernel
    with page-table isolation runs on tables without modules and direct map; the process's kernel table lies
    just before them. Raises UnmappedAddress when neither maps a kernel.
    """
    root = cr3 & _FRAME
    for candidate in (root, root & ~_PTI_USER):
        entries = _TABLE.unpack(read(candidate, PAGE))[_KERNEL_REGIONS]
        if sum(entry & _PRESENT for entry in entries) >= _FEWEST_ENTRIES:
            return candidate
    raise UnmappedAddress(
        root,
        f"the page tables at {root:#x} (physical) map no Linux kernel",
        evidence=f"CR3={cr3:#x}",
        advice="the kernel has not set up its memory yet, or another system runs on this CPU",
    )


def _together(flags: int, entry: int) -> int:
    """Returns combined flags: write and user access need every level, execution is forbidden by any level."""
    return flags & entry & (_WRITE | _USER) | (flags | entry) & _NO_EXECUTE


def _canonical(address: int, levels: int) -> int:
    """Returns the address with the bits above the translated ones equal to the highest translated one."""
    bits = 12 + 9 * levels
    low = address & (1 << bits) - 1
    return low | (1 << 64) - (1 << bits) if low >> (bits - 1) else low
