"""The module's pages as drawn, and their places in physical memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmod_harness.explain.observed.observations import ModulePage
from kmod_harness.explain.observed.physical_places import PAGE_SIZE
from kmod_harness.explain.page.module_pages import MAX_ROWS, MAX_SINGLE, pages_picture
from unit.explain.page import sample

RAM = 256 << 20


def test_pages_are_numbered_by_address_and_ordered_by_place() -> None:
    picture = pages_picture(tuple(reversed(sample.pages())), RAM)
    assert [page.number for page in picture.pages] == [1, 2, 3, 4, 5]
    assert [page.kind for page in picture.pages] == ["text", "rodata", "rodata", "data", "data"]
    assert picture.numbers_by_place == (2, 4, 1, 3, 5)
    assert picture.pieces == 3


def test_places_in_physical_memory_are_true_to_scale() -> None:
    picture = pages_picture(sample.pages(), RAM)
    for drawn, page in zip(picture.pages, sample.pages(), strict=True):
        assert drawn.physical_left == pytest.approx(picture.window.position(page.physical))
        assert drawn.physical_width == pytest.approx(100 * PAGE_SIZE / picture.window.size)
    assert picture.ram.size == RAM
    assert picture.focus[0] <= picture.ram.position(picture.window.start)
    assert picture.focus[1] >= picture.ram.position(picture.window.end)


def at_frames(*frames: int) -> tuple[ModulePage, ...]:
    """The sample's pages at these numbers of frames in physical memory."""
    return tuple(
        replace(page, physical=frame * PAGE_SIZE) for page, frame in zip(sample.pages(), frames, strict=True)
    )


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ((10, 11, 12, 13, 14), "fill one piece of physical memory, in the same order."),
        ((14, 13, 12, 11, 10), "fill one piece of physical memory, in reverse order."),
        ((12, 10, 11, 14, 13), "fill one piece of physical memory, in another order."),
        ((10, 11, 20, 31, 30), "they lie in three pieces: some are neighbours there, by accident."),
        ((10, 20, 30, 40, 50), "no two of them are neighbours."),
    ],
)
def test_how_the_pages_lie_in_physical_memory_is_told_as_it_is(frames: tuple[int, ...], said: str) -> None:
    assert said in pages_picture(at_frames(*frames), RAM).summary


def test_a_single_page_has_no_neighbours_to_tell_of() -> None:
    assert pages_picture(sample.pages()[:1], RAM).summary == "It is a single page."


def test_pages_of_several_blocks_are_counted_as_rows_of_addresses() -> None:
    first, second, *others = sample.pages()
    apart = (first, *(replace(page, virtual=page.virtual + 8 * PAGE_SIZE) for page in (second, *others)))
    assert (pages_picture(apart, RAM).runs, pages_picture(sample.pages(), RAM).runs) == (2, 1)


def test_read_only_pages_that_can_be_written_by_a_detour_are_counted() -> None:
    assert pages_picture(sample.pages(), RAM).open_by_detour == 0
    text, *others = sample.pages()
    assert pages_picture((replace(text, alias_permissions="rw-"), *others), RAM).open_by_detour == 1


def test_memory_moved_up_by_the_pci_hole_is_still_in_the_bar() -> None:
    high = tuple(replace(page, physical=page.physical + (4 << 30)) for page in sample.pages())
    picture = pages_picture(high, RAM)
    assert picture.ram.end >= max(page.physical for page in high) + PAGE_SIZE


def test_the_pages_of_a_large_module_are_listed_by_runs() -> None:
    picture = pages_picture(sample.pages(400), RAM)
    assert len(picture.pages) == 400 > MAX_SINGLE
    assert not picture.numbered
    assert picture.numbers_by_place == ()
    assert [(row.first, row.last) for row in picture.rows] == [(1, 240), (241, 400)]
    assert len(picture.rows) <= MAX_ROWS


def test_without_pages_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="without pages"):
        pages_picture((), RAM)
