"""The module's pages as drawn, and their places in physical memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmod_harness.explain.page.module_pages import MAX_ROWS, MAX_SINGLE, PAGE_SIZE, pages_picture
from unit.explain.page import sample

RAM = 256 << 20


def test_pages_are_numbered_by_address_and_ordered_by_place() -> None:
    picture = pages_picture(tuple(reversed(sample.pages())), RAM)
    assert [page.number for page in picture.pages] == [1, 2, 3, 4, 5]
    assert [page.kind for page in picture.pages] == ["text", "rodata", "rodata", "data", "data"]
    assert picture.physical_order == (2, 4, 1, 3, 5)
    assert picture.neighbours == 0


def test_places_in_physical_memory_are_true_to_scale() -> None:
    picture = pages_picture(sample.pages(), RAM)
    for drawn, page in zip(picture.pages, sample.pages(), strict=True):
        assert drawn.physical_left == pytest.approx(picture.window.position(page.physical))
        assert drawn.physical_width == pytest.approx(100 * PAGE_SIZE / picture.window.size)
    assert picture.ram.size == RAM
    assert picture.focus[0] <= picture.ram.position(picture.window.start)
    assert picture.focus[1] >= picture.ram.position(picture.window.end)


def test_pages_that_happen_to_be_neighbours_are_said_to_be() -> None:
    together = tuple(
        replace(page, physical=0x200000 + n * PAGE_SIZE) for n, page in enumerate(sample.pages())
    )
    picture = pages_picture(together, RAM)
    assert picture.neighbours == 4
    assert "happen to lie one behind the other" in picture.summary
    assert "No page" in pages_picture(sample.pages(), RAM).summary


def test_pages_of_several_blocks_are_not_said_to_follow_one_another() -> None:
    first, second, *others = sample.pages()
    apart = (first, *(replace(page, virtual=page.virtual + 8 * PAGE_SIZE) for page in (second, *others)))
    picture = pages_picture(apart, RAM)
    assert (picture.runs, picture.neighbours) == (2, 0)
    together = tuple(replace(page, physical=0x200000 + n * PAGE_SIZE) for n, page in enumerate(apart))
    picture = pages_picture(together, RAM)
    assert picture.neighbours == 3, "the first one is no neighbour of the second"
    assert "those in a row happen to lie" in picture.summary
    alone = tuple(replace(page, virtual=page.virtual + n * PAGE_SIZE) for n, page in enumerate(apart))
    assert pages_picture(alone, RAM).summary == "No two of them are neighbours."


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
    assert picture.physical_order == ()
    assert [(row.first, row.last) for row in picture.rows] == [(1, 240), (241, 400)]
    assert len(picture.rows) <= MAX_ROWS


def test_without_pages_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="without pages"):
        pages_picture((), RAM)
