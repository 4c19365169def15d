"""A module's blocks while the loader fills them: in which pass, and at which offset, a section is placed.

Sources: layout_sections, module_get_offset (kernel/module/main.c, 6.1.192), and their successors
__layout_sections, module_get_offset_and_type (6.12.117).
"""

from __future__ import annotations

from dataclasses import dataclass

from kmod_harness.kmod.elf.module import SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, Section

PAGE = 4096
#: include/linux/elf.h, 6.1: set by the loader, on `.data..ro_after_init` and `__jump_table`.
SHF_RO_AFTER_INIT = 0x00200000
#: For each pass the region, the flags a section must have, and those it must not have: the kernel's masks
#: without ARCH_SHF_SMALL, which x86 does not have.
PASSES = (
    ("text", SHF_EXECINSTR | SHF_ALLOC, 0),
    ("rodata", SHF_ALLOC, SHF_WRITE),
    ("ro_after_init", SHF_RO_AFTER_INIT | SHF_ALLOC, 0),
    ("data", SHF_WRITE | SHF_ALLOC, 0),
)
#: In the order of allocation (move_module): enum mod_mem_type, include/linux/module.h, 6.12.
MEMORY_TYPES = ("text", "data", "rodata", "ro_after_init", "init_text", "init_data", "init_rodata")


@dataclass(frozen=True)
class PlacedSection:
    """A section and its place.

    section: the section in the file
    block: block as in Layout.blocks
    offset: bytes from the start of the block
    """

    section: Section
    block: str
    offset: int


@dataclass(frozen=True)
class Region:
    """A run of whole pages of one block with one permission, once the module is live.

    block: block it belongs to
    name: `text`, `rodata`, `ro_after_init` or `data`
    start: bytes from the start of the block, page aligned
    end: bytes from the start of the block to its end, page aligned
    writable: whether its pages are writable
    executable: whether its pages are executable
    sealed: whether it is writable until init returns, and read-only afterwards (module_enable_ro)
    """

    block: str
    name: str
    start: int
    end: int
    writable: bool
    executable: bool
    sealed: bool


class LayoutBuilder:
    """The blocks while they are filled: their sizes in bytes, and the sections placed so far."""

    def __init__(self, *, memory_types: bool) -> None:
        self.memory_types = memory_types
        self.sizes = dict.fromkeys(MEMORY_TYPES if memory_types else ("core", "init"), 0)
        self.placed: dict[int, PlacedSection] = {}
        self._ends: dict[tuple[str, str], int] = {}

    def block(self, init: bool, name: str) -> str:
        if not self.memory_types:
            return "init" if init else "core"
        return f"init_{name}" if init else name

    def append(self, block: str, size: int, alignment: int) -> int:
        """Returns the offset of `size` more bytes (module_get_offset)."""
        offset = aligned(self.sizes[block], alignment)
        self.sizes[block] = offset + size
        return offset

    def place(self, section: Section, init: bool, name: str) -> None:
        """Appends a section that no earlier pass has placed (__layout_sections).

        There is no block init_ro_after_init.
        """
        block = self.block(init, name)
        if section.index not in self.placed and block in self.sizes:
            self.put(section, block)

    def put(self, section: Section, block: str) -> None:
        offset = self.append(block, section.size, section.alignment)
        self.placed[section.index] = PlacedSection(section, block, offset)

    def end_pass(self, init: bool, name: str) -> None:
        """Ends a permission's pages: up to 6.3 a part of a block, from 6.4 on a block of its own."""
        block = self.block(init, name)
        if not self.memory_types and not (init and name == "ro_after_init"):
            self.sizes[block] = self._ends[block, name] = aligned(self.sizes[block], PAGE)

    def regions(self) -> tuple[Region, ...]:
        """Returns the runs of pages that are not empty; the symbol tables, appended last, are data."""
        if self.memory_types:
            spans = [(block, block.removeprefix("init_"), 0, size) for block, size in self.sizes.items()]
        else:
            spans = []
            for block in self.sizes:
                start = 0
                for name, _, _ in PASSES:
                    end = self.sizes[block] if name == "data" else self._ends.get((block, name), start)
                    spans.append((block, name, start, end))
                    start = end
        return tuple(
            Region(
                block=block,
                name=name,
                start=start,
                end=aligned(end, PAGE),
                writable=name == "data",
                executable=name == "text",
                sealed=name == "ro_after_init",
            )
            for block, name, start, end in spans
            if end > start
        )


def aligned(offset: int, alignment: int) -> int:
    """Returns the next multiple of an alignment; an alignment of 0 means 1 (ELF)."""
    return -(-offset // (alignment or 1)) * (alignment or 1)
