"""The address space in steps: true to scale, each step inside the one before."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.explain.observed.observations import Region
from kmod_harness.explain.page.address_space import levels, permission_kind
from kmod_harness.explain.page.scale import HAIRLINE, Span, visible_focus, with_names_placed
from unit.explain.page import sample
from unit.explain.page.sample_blocks import by_memory_type


@given(
    start=st.integers(0, 1 << 63),
    size=st.integers(1, 1 << 62),
    cuts=st.lists(st.integers(0, 1 << 62), min_size=2, max_size=2),
)
def test_a_band_is_as_wide_as_its_share_of_the_bar(start: int, size: int, cuts: list[int]) -> None:
    first, last = sorted(cut % size for cut in cuts)
    band = Span(start, start + size).band("x", "text", start + first, start + last)
    assert band.width == pytest.approx(100 * (last - first) / size, abs=1e-6)
    assert band.left == pytest.approx(100 * first / size, abs=1e-6)


@given(st.integers(0, 999), st.integers(0, 999))
def test_what_is_left_out_takes_no_room(address: int, other: int) -> None:
    span = Span(0, 1000, hole=(300, 700))
    low, high = sorted((address, other))
    assert 0 <= span.position(low) <= span.position(high) <= 100
    assert span.position(300) == span.position(500) == span.position(700) == 50
    assert span.position(850) == 75


def test_a_focus_too_small_to_see_is_widened_to_a_hairline() -> None:
    left, right = visible_focus(50.0, 50.0)
    assert right - left == pytest.approx(HAIRLINE)
    assert visible_focus(100.0, 100.0)[1] == 100.0
    assert visible_focus(10.0, 30.0) == (10.0, 30.0)


def test_each_step_is_the_marked_part_of_the_step_before() -> None:
    steps = levels(sample.observations())
    assert [step.key for step in steps] == ["all", "kernel", "top", "modules", "module", "functions"]
    for outer, inner in itertools.pairwise(steps):
        left, right = outer.focus
        assert left <= outer.span.position(inner.span.start) <= outer.span.position(inner.span.end) <= right
        assert inner.magnified == max(1, round(outer.span.size / inner.span.size))
    assert steps[0].span.size == 256 << 40
    assert steps[-1].focus == (0.0, 0.0)


def test_every_band_lies_in_its_bar_at_its_address() -> None:
    for step in levels(sample.observations()):
        for band in step.bands:
            assert -1e-9 <= band.left <= band.left + band.width <= 100 + 1e-9
            assert band.left == pytest.approx(step.span.position(band.start))


def test_the_module_stands_where_it_was_seen() -> None:
    around = levels(sample.observations())[3]
    ours = [band for band in around.bands if band.kind == "module"]
    assert [(band.start, band.end) for band in ours] == [(sample.BASE, sample.BASE + 0x5000)]
    assert "165 pages free" in around.text


def test_init_sections_are_counted_as_freed_and_not_drawn() -> None:
    module = levels(sample.observations())[4]
    assert not [band for band in module.bands if band.name.startswith(".init")]
    assert "958 B of sections" in module.text


def test_functions_are_drawn_once_each_in_the_order_of_their_addresses() -> None:
    functions = levels(sample.observations())[5]
    assert [band.name for band in functions.bands][:3] == [
        "chardev_sum_counters",
        "chardev_free",
        "chardev_poll",
    ]
    assert functions.bands[0].start == sample.BASE


def test_a_name_is_written_where_nothing_else_is_drawn() -> None:
    span = Span(0, 100)
    room, image = with_names_placed([span.band("room", "room", 0, 80), span.band("image", "kernel", 30, 34)])
    assert (room.name_left, room.name_width) == (34, 46)
    assert image.name_width == 4
    alone = with_names_placed([span.band("alone", "room", 20, 80)])[0]
    assert (alone.name_left, alone.name_width) == (20, 60)
    hidden = [
        span.band("below", "room", 0, 100),
        span.band("a", "text", 0, 60),
        span.band("b", "text", 40, 100),
    ]
    assert with_names_placed(hidden)[0].name_width == 0


def test_of_very_many_functions_the_largest_are_drawn() -> None:
    functions = levels(sample.observations(functions=311))[5]
    assert (len(functions.bands), functions.left_out) == (300, 11)
    assert "311 functions" in functions.text


def test_without_function_symbols_there_is_one_step_less() -> None:
    seen = sample.observations()
    stripped = replace(seen, module=replace(seen.module, symbols=()))
    assert levels(stripped)[-1].key == "module"
    assert levels(stripped)[-1].focus == (0.0, 0.0)


def test_blocks_by_memory_type_lie_where_they_are_and_not_in_one_range() -> None:
    # given: the layout of 6.4 and up, one block for each type, and another module's code between them
    base = sample.BASE
    seen = by_memory_type(sample.observations())

    around, module = levels(seen)[3:5]

    # then: each block is drawn in the modules' range, nothing else is the module's
    ours = {band.name: (band.start, band.end) for band in around.bands if band.kind == "module"}
    assert ours == {
        "chardev: text": (base, base + 0x1000),
        "chardev: data": (base + 0x8000, base + 0xA000),
        "chardev: rodata": (base + 0x4000, base + 0x6000),
    }
    assert "3 blocks, its code at" in around.text
    assert "a block of its own" in around.text and "Each module takes" not in around.text
    # and: the bar of the module says that it shows more than the module
    assert module.title == "Where the 3 blocks of chardev lie"
    assert (module.span.start, module.span.end) == (base, base + 0xA000)
    assert "5 pages in 3 blocks" in module.text and "code first, then" not in module.text
    assert "in 2 blocks of their own, which were freed" in module.text


def test_of_a_release_whose_places_are_not_known_none_is_explained() -> None:
    seen = by_memory_type(sample.observations(), release="7.2.13")
    assert "lowest gap" not in levels(seen)[3].text


def test_five_levels_of_page_tables_make_larger_halves() -> None:
    seen = sample.observations()
    space = replace(seen.space, user=Region("user", 0, (1 << 56) - 4096))
    whole = levels(replace(seen, space=space))[0]
    assert whole.span.size == 1 << 57
    assert "57 of an address's 64 bits" in whole.text


@pytest.mark.parametrize(
    ("permissions", "kind"), [("r-x", "text"), ("r--", "rodata"), ("rw-", "data"), ("rwx", "wx")]
)
def test_colours_follow_permissions(permissions: str, kind: str) -> None:
    assert permission_kind(permissions) == kind
