"""The use of a page, by struct pages as 6.1 and 7.2 have them."""

from __future__ import annotations

import pytest

from kmod_harness.leftovers.allocator.pages import Pages, Use
from unit.leftovers.allocator.memory import Memory

LAYOUTS = {
    "page": {"": 64, "flags": 0, "mapping": 24, "page_type": 48, "_refcount": 52},
    "mem_section": {"": 16, "section_mem_map": 0},
}
SECTION, ROOTS, ROOT, ARRAY = 0xFF00, 0x1000, 0x2000, 0xFFFFEA0000000000
OLD, NEW = {"PG_slab": 9}, {"PGTY_slab": 0xF5, "PGTY_buddy": 0xF0}


def pages(memory: Memory, constants: dict[str, int]) -> Pages:
    memory.put(SECTION, ROOTS)
    memory.put(ROOTS, ROOT)
    # flags lie below the pointer
    memory.put(ROOT, ARRAY | 0x1F)
    return Pages(memory.read, LAYOUTS, constants, SECTION)


def page(
    memory: Memory, number: int, *, count: int = 1, flags: int = 0, kind: int = 0xFF, **more: int
) -> int:
    at = ARRAY + 64 * number
    memory.put(at, flags)
    memory.put(at + 52, count, 4)
    memory.put(at + 48, kind << 24, 4)
    memory.put(at + 8, more.get("head", 0))
    memory.put(at + 24, more.get("mapping", 0))
    return at


def test_a_page_that_nobody_holds_is_free() -> None:
    memory = Memory()
    page(memory, 5, count=0)
    assert pages(memory, OLD).use_of(5).use is Use.FREE


def test_a_page_of_a_file_or_program_is_no_memory_of_the_kernels() -> None:
    memory = Memory()
    page(memory, 5, mapping=0xFFFF888000000001)
    assert pages(memory, OLD).use_of(5).use is Use.USER


def test_any_other_page_is_the_kernels() -> None:
    memory = Memory()
    page(memory, 5)
    assert pages(memory, OLD).use_of(5).use is Use.KERNEL


@pytest.mark.parametrize(("constants", "how"), [(OLD, {"flags": 1 << 9}), (NEW, {"kind": 0xF5, "count": 0})])
def test_a_tail_of_a_slab_is_the_slab_of_its_head(constants: dict[str, int], how: dict[str, int]) -> None:
    memory = Memory()
    head = page(memory, 8, **how)
    page(memory, 10, count=0, head=head | 1)
    found = pages(memory, constants).use_of(10)
    assert (found.use, found.head, found.first) == (Use.SLAB, head, 8)


def test_a_head_may_be_told_by_a_mask() -> None:
    memory = Memory()
    head = page(memory, 8, kind=0xF5, count=0)
    page(memory, 10, count=0, head=-(64 * 4) | 1)
    assert pages(memory, NEW).use_of(10).head == head


def test_what_is_not_counted_and_has_a_type_is_not_free() -> None:
    memory = Memory()
    page(memory, 5, count=0, kind=0xF8)
    page(memory, 6, count=0, kind=0xF0)
    found = pages(memory, NEW)
    assert (found.use_of(5).use, found.use_of(6).use) == (Use.KERNEL, Use.FREE)
