"""The kernel's place in memory, by its page tables alone: KASLR's slide, the direct map, aliases."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kmod_harness.errors import MachineFailure
from kmod_harness.kmod.addresses import KERNEL_IMAGE_BASE, KERNEL_IMAGE_END
from kmod_harness.machine.memory.page_tables import PAGE, Page, PageTables, UnmappedAddress

#: Linked address of `_text` with CONFIG_PHYSICAL_START=0x1000000, Kconfig's default
#: (arch/x86/kernel/vmlinux.lds.S, 6.1); for kernels that come without vmlinux and System.map.
LINKED_TEXT = KERNEL_IMAGE_BASE + 0x1000000
#: CONFIG_PHYSICAL_ALIGN is 2 MiB at least on x86-64 (arch/x86/Kconfig, 6.1): KASLR's step.
_SLIDE_STEP = 2 << 20
#: Lowest direct map by levels, `__PAGE_OFFSET_BASE_L4`, `_L5` (page_64_types.h, 6.1), and the end of the
#: regions that KASLR places: the CPU entry area (arch/x86/mm/kaslr.c).
_DIRECT_MAP_LOWEST = {4: 0xFFFF888000000000, 5: 0xFF11000000000000}
_DIRECT_MAP_LIMIT = 0xFFFFFE0000000000
#: RANDOMIZE_MEMORY moves the direct map by multiples of a PUD (arch/x86/mm/kaslr.c, 6.1).
_DIRECT_MAP_STEP = 1 << 30


class KernelNotFound(MachineFailure):
    """The page tables do not look like those of an x86-64 Linux kernel."""


def kernel_slide(tables: PageTables, linked_text: int = LINKED_TEXT) -> int:
    """Returns KASLR's slide in bytes: the lowest mapped page of the kernel's range minus linked `_text`.

    Nothing below `_text` stays mapped (arch/x86/mm/init_64.c, 6.1: cleanup_highmap). Raises KernelNotFound
    when the result is not a possible slide.
    """
    lowest = next(tables.walk(KERNEL_IMAGE_BASE, KERNEL_IMAGE_END), None)
    if lowest is None:
        raise KernelNotFound(f"nothing is mapped in {KERNEL_IMAGE_BASE:#x}-{KERNEL_IMAGE_END:#x}")
    slide = lowest.virtual - linked_text
    if slide < 0 or slide % _SLIDE_STEP:
        raise KernelNotFound(
            f"the kernel image begins at {lowest.virtual:#x}, which is {slide:#x} from where it was linked",
            evidence=f"_text was linked at {linked_text:#x}; a slide is a multiple of {_SLIDE_STEP:#x}",
            advice="the vmlinux or System.map may be another kernel's",
        )
    return slide


def direct_map_base(tables: PageTables) -> int:
    """Returns the virtual address of physical address 0 in the direct map, `page_offset_base`.

    The direct map is the lowest of the regions that KASLR places (arch/x86/mm/kaslr.c, 6.1). Raises
    KernelNotFound.
    """
    start = _DIRECT_MAP_LOWEST[tables.levels]
    lowest = next(tables.walk(start, _DIRECT_MAP_LIMIT), None)
    if lowest is None:
        raise KernelNotFound(f"nothing is mapped in {start:#x}-{_DIRECT_MAP_LIMIT:#x}")
    base = lowest.virtual - lowest.physical
    if base < start or base % _DIRECT_MAP_STEP:
        raise KernelNotFound(
            f"the lowest kernel page {lowest.virtual:#x} -> {lowest.physical:#x} belongs to no direct map"
        )
    return base


@dataclass(frozen=True)
class MappedPage:
    """A 4 KiB page and the mapping of the same physical page in the direct map.

    page: the page
    alias: its direct-map alias, None where that is not mapped

    W^X depends on both: a page that is executable in one mapping must not be writable in the other.
    """

    page: Page
    alias: Page | None

    @property
    def is_writable_and_executable(self) -> bool:
        """Whether one mapping is both, or one is writable and the other executable."""
        views = [view for view in (self.page, self.alias) if view is not None]
        return any(view.writable for view in views) and any(view.executable for view in views)


def mapped_pages(
    tables: PageTables, start: int, end: int, *, direct_map: int | None = None
) -> Iterator[MappedPage]:
    """Yields each 4 KiB page of start..end with its alias, ascending; large pages in parts of 4 KiB.

    `direct_map` is its base, None to find it. Raises UnmappedAddress at the first page that is missing.
    """
    base = direct_map_base(tables) if direct_map is None else direct_map
    address = start & -PAGE
    while address < end:
        large = tables.page(address)
        for virtual in range(address, min(end, large.end), PAGE):
            page = large.slice(virtual, virtual + PAGE)
            alias = tables.find(base + page.physical)
            within = base + page.physical
            yield MappedPage(page, alias and alias.slice(within, within + PAGE))
        address = large.end


def is_contiguous(pages: Iterable[Page]) -> bool:
    """Returns whether the physical addresses of the pages follow one another."""
    return all(a.physical + a.size == b.physical for a, b in itertools.pairwise(pages))


__all__ = [
    "LINKED_TEXT",
    "KernelNotFound",
    "MappedPage",
    "UnmappedAddress",
    "direct_map_base",
    "is_contiguous",
    "kernel_slide",
    "mapped_pages",
]
