"""Given `struct module` of 6.4 and later, then `mem[]` in it tells where the blocks are, or nothing does."""

from __future__ import annotations

import struct

import pytest

from kmod_harness.kmod.layout.predict import Layout
from kmod_harness.verify.outside.memory_types import block_bases

SIZES = {
    "text": 0x1000,
    "data": 0x2000,
    "rodata": 0x1000,
    "ro_after_init": 0,
    "init_text": 0x1000,
    "init_data": 0x3000,
    "init_rodata": 0x1000,
}
BASES = {block: 0xFFFFFFFFC0100000 + 0x10000 * number for number, block in enumerate(SIZES) if SIZES[block]}
KEPT = {block: base for block, base in BASES.items() if not block.startswith("init")}


def layout(release: tuple[int, int] = (6, 12)) -> Layout:
    return Layout(release, SIZES, (), (), None, None, None)


def struct_module(
    stride: int, *, before: int = 0x180, live: bool = False, between: int = 0, **changed: int
) -> bytes:
    """The struct of a module whose init is done unless `live`; changed: block -> another size.

    between: bytes between base and size
    """
    memory = b""
    for block, size in SIZES.items():
        there = size and (live or not block.startswith("init"))
        base, size = (BASES[block], changed.get(block, size)) if there else (0, 0)
        memory += struct.pack(f"<Q{between}xI", base, size).ljust(stride, b"\x11")
    # the list of sections, say, has the address of .data too
    return struct.pack("<Q", BASES["data"]).ljust(before, b"\0") + memory + bytes(0x200)


@pytest.mark.parametrize("stride", [16, 72])  # without and with MODULES_TREE_LOOKUP
def test_the_blocks_are_where_mem_says(stride: int) -> None:
    assert block_bases(struct_module(stride), layout(), BASES["data"]) == KEPT


def test_while_init_runs_its_blocks_are_told_too() -> None:
    assert block_bases(struct_module(72, live=True), layout(), BASES["data"]) == BASES


def test_blocks_of_other_sizes_than_the_file_gives_are_not_believed() -> None:
    assert block_bases(struct_module(72, text=0x5000), layout(), BASES["data"]) == {}


@pytest.mark.parametrize("between", [4, 12])  # is_rox, and the writable copy of a read-only text too
def test_from_6_13_on_there_is_more_between_base_and_size(between: int) -> None:
    content = struct_module(72, between=between)
    assert block_bases(content, layout((7, 2)), BASES["data"]) == KEPT
    assert block_bases(content, layout((6, 12)), BASES["data"]) == {}


def test_a_struct_of_another_form_tells_nothing() -> None:
    assert block_bases(struct_module(72), layout((6, 13)), BASES["data"]) == {}
