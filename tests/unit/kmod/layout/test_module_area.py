"""Where the loader puts a module: lowest gap that fits, one guard page behind each block."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.kmod.layout.module_area import (
    BusyRange,
    ModuleAreaFull,
    lowest_gap,
    parse_vmallocinfo,
    predict_anchors,
)
from kmod_harness.kmod.layout.predict import Layout
from kmod_harness.kmod.symbols.symbol_files import AddressesHidden, SymbolTableError
from kmod_harness.releases.release import UnsupportedRelease

START, END, PAGE = 0xFFFFFFFFC0000000, 0xFFFFFFFFC0100000, 4096
VMALLOCINFO = """\
0xffffc90000000000-0xffffc90000005000   20480 irq_init_percpu_irqstack+0x114/0x1b0 vmap
0xffffffffc0288000-0xffffffffc0295000   53248 load_module+0xbb7/0x21a0 pages=12 vmalloc N0=12
0xffffffffc0087000-0xffffffffc0288000 2101248 bpf_prog_pack_alloc+0x292/0x3b0 pages=512 vmalloc N0=512
0xffffffffc02fc000-0xffffffffc0301000   20480 unpurged vm_area
"""


def layout(release: tuple[int, int] = (6, 1), **blocks: int) -> Layout:
    return Layout(release, blocks, (), (), None, None, None)


def at(start_page: int, end_page: int) -> BusyRange:
    return BusyRange(START + start_page * PAGE, START + end_page * PAGE)


def test_vmallocinfo_lists_the_ranges_of_the_module_area_in_order() -> None:
    assert parse_vmallocinfo(VMALLOCINFO) == (
        BusyRange(0xFFFFFFFFC0087000, 0xFFFFFFFFC0288000, "bpf_prog_pack_alloc+0x292/0x3b0"),
        BusyRange(0xFFFFFFFFC0288000, 0xFFFFFFFFC0295000, "load_module+0xbb7/0x21a0"),
        BusyRange(0xFFFFFFFFC02FC000, 0xFFFFFFFFC0301000, "unpurged"),
    )
    assert len(parse_vmallocinfo(VMALLOCINFO, start=0)) == 4


def test_hashed_addresses_are_not_taken_for_addresses() -> None:
    with pytest.raises(AddressesHidden, match="hashed") as error:
        parse_vmallocinfo("0x00000000ab5d0f1c-0x0000000060b9a3b4   20480 load_module+0xbb7/0x21a0\n")
    assert "kptr_restrict" in error.value.advice


def test_another_text_is_an_error_with_its_line() -> None:
    with pytest.raises(SymbolTableError, match="line 2"):
        parse_vmallocinfo(VMALLOCINFO.splitlines()[0] + "\nnonsense\n")


def test_core_and_init_follow_each_other_with_a_guard_page_between() -> None:
    assert predict_anchors(layout(core=5 * PAGE, init=4 * PAGE), [], START) == {
        "core": START,
        "init": START + 6 * PAGE,
    }


def test_a_small_init_block_goes_into_a_gap_below_its_core() -> None:
    busy = [at(0, 4), at(7, 9)]
    anchors = predict_anchors(layout(core=3 * PAGE, init=2 * PAGE), busy, START)
    assert anchors == {"core": START + 9 * PAGE, "init": START + 4 * PAGE}


def test_memory_types_are_placed_in_the_order_of_allocation_and_empty_ones_are_not() -> None:
    anchors = predict_anchors(layout((6, 12), text=PAGE, data=2 * PAGE, rodata=0, init_text=PAGE), [], START)
    assert anchors == {"text": START, "data": START + 2 * PAGE, "init_text": START + 5 * PAGE}


def test_from_6_13_on_text_comes_out_of_a_cache_and_is_not_predicted() -> None:
    with pytest.raises(UnsupportedRelease, match=r"6\.13"):
        predict_anchors(layout((6, 13), text=PAGE), [], START)


def test_a_full_area_is_an_error() -> None:
    with pytest.raises(ModuleAreaFull, match="no room for 8192 bytes"):
        lowest_gap([at(0, 255)], 1, START, END)


def pages_taken(busy: list[BusyRange]) -> set[int]:
    return {
        page for taken in busy for page in range((taken.start - START) // PAGE, (taken.end - START) // PAGE)
    }


RANGES = st.lists(
    st.tuples(st.integers(0, 250), st.integers(1, 12)).map(lambda r: at(r[0], min(sum(r), 256)))
)


@given(RANGES, st.integers(1, 20 * PAGE), st.integers(0, 40))
def test_the_gap_is_the_lowest_that_holds_the_block_and_its_guard_page(
    busy: list[BusyRange], size: int, first: int
) -> None:
    taken, needed = pages_taken(busy), (size + PAGE - 1) // PAGE + 1
    # page by page, as slowly and plainly as it can be said
    fits = [p for p in range(first, 256 - needed + 1) if not taken & set(range(p, p + needed))]
    if fits:
        assert lowest_gap(busy, size, START + first * PAGE, END) == START + fits[0] * PAGE
    else:
        with pytest.raises(ModuleAreaFull):
            lowest_gap(busy, size, START + first * PAGE, END)


@given(RANGES, st.integers(1, 9), st.integers(0, 9))
def test_what_is_predicted_is_free(busy: list[BusyRange], core: int, init: int) -> None:
    blocks = layout(core=core * PAGE, init=init * PAGE)
    anchors = predict_anchors(blocks, busy, START)
    assert set(anchors) == ({"core", "init"} if init else {"core"})
    mine = [BusyRange(base, base + blocks.blocks[block] + PAGE) for block, base in anchors.items()]
    pages = [pages_taken([block]) for block in mine]
    assert not any(own & pages_taken(busy) for own in pages)
    assert sum(map(len, pages)) == len(set().union(*pages))
    assert predict_anchors(replace(blocks), list(reversed(busy)), START) == anchors
