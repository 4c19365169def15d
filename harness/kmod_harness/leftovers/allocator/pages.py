"""What the kernel uses a page of RAM for, by its struct page."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Read = Callable[[int, int], bytes]
Layouts = Mapping[str, Mapping[str, int]]

PAGE = 4096
#: SECTION_SIZE_BITS of x86-64 less those of a page (arch/x86/include/asm/sparsemem.h, 6.1): 128 MiB.
_SECTION_SHIFT = 27 - 12
#: The flags below the pointer in section_mem_map; a struct page's array is aligned beyond them.
_SECTION_FLAGS = 63
#: A mask in place of a pointer to the head, on kernels that optimise huge pages' struct pages (7.1 on).
_MASK = 0xFFFFFFFF00000000


class Use(enum.Enum):
    """The use of a page."""

    FREE = "free"
    SLAB = "slab"
    USER = "of programs or files"
    KERNEL = "kernel"


@dataclass(frozen=True)
class PageUse:
    """A page's use, the address of its first struct page (that of a slab), and that page's number."""

    use: Use
    head: int
    first: int


class Pages:
    """The struct pages of a stopped kernel.

    read: function that returns the bytes at (address, size) of the kernel's virtual memory
    layouts: offsets of the members of the kernel's structures
    constants: values of enumerators
    mem_section: address of the variable of that name
    """

    def __init__(self, read: Read, layouts: Layouts, constants: Mapping[str, int], mem_section: int) -> None:
        self._read = read
        self._page = layouts["page"]
        self._section = layouts["mem_section"]
        self._roots = self._word(mem_section)
        self._constants = constants
        self._maps: dict[int, int] = {}
        self._uses: dict[int, PageUse] = {}

    def use_of(self, number: int) -> PageUse:
        """Returns the use of a page by its number (physical address / 4096)."""
        if number not in self._uses:
            self._uses[number] = self._look(number)
        return self._uses[number]

    def _look(self, number: int) -> PageUse:
        address = self._array_of(number >> _SECTION_SHIFT) + number * self._page[""]
        head = self._head(address)
        first = number - (address - head) // self._page[""]
        content = self._read(head, self._page[""])
        if self._is_slab(content):
            return PageUse(Use.SLAB, head, first)
        mine = content if head == address else self._read(address, self._page[""])
        return PageUse(self._use(content, mine), head, first)

    def _use(self, head: bytes, page: bytes) -> Use:
        count = int.from_bytes(head[self._page["_refcount"] :][:4], "little", signed=True)
        # slab and large kmalloc pages are not counted from 7.0 on; they have a type
        if count == 0 and not self._has_type(head):
            return Use.FREE
        mapping = int.from_bytes(head[self._page["mapping"] :][:8], "little")
        return Use.USER if mapping and not self._has_type(head) else Use.KERNEL

    def _is_slab(self, head: bytes) -> bool:
        kind = self._constants.get("PGTY_slab")
        if kind is not None:
            return self._type(head) >> 24 == kind
        return bool(int.from_bytes(head[:8], "little") >> self._constants["PG_slab"] & 1)

    def _has_type(self, head: bytes) -> bool:
        """Whether a page has a type other than that of a free one."""
        if "PGTY_slab" not in self._constants:
            return False
        kind = self._type(head) >> 24
        return 0xF0 <= kind < 0xFF and kind != self._constants["PGTY_buddy"]

    def _type(self, head: bytes) -> int:
        return int.from_bytes(head[self._page["page_type"] :][:4], "little")

    def _head(self, address: int) -> int:
        info = self._word(address + 8)  # compound_head, compound_info
        if not info & 1:
            return address
        return address & info & ~1 if info & _MASK == _MASK else info - 1

    def _array_of(self, section: int) -> int:
        if section not in self._maps:
            per_root = 4096 // self._section[""]
            root = self._word(self._roots + section // per_root * 8)
            entry = root + section % per_root * self._section[""]
            self._maps[section] = self._word(entry + self._section["section_mem_map"]) & ~_SECTION_FLAGS
        return self._maps[section]

    def _word(self, address: int) -> int:
        return int.from_bytes(self._read(address, 8), "little")
