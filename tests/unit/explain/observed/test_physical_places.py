"""Where pages lie in physical memory: in how many pieces, in which order, and what the claim tells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.explain.claims.placing import ANYWHERE
from kmod_harness.explain.observed.observations import ModulePage
from kmod_harness.explain.observed.physical_places import (
    PAGE_SIZE,
    PhysicalOrder,
    physical_order,
    physical_pieces,
)
from unit.explain.sample_claims import PAGES, SEEN


def at_frames(frames: Sequence[int]) -> tuple[ModulePage, ...]:
    """Pages in a row of addresses, at these numbers of frames in physical memory."""
    first = PAGES[0]
    return tuple(
        replace(first, virtual=first.virtual + number * PAGE_SIZE, physical=frame * PAGE_SIZE)
        for number, frame in enumerate(frames)
    )


@pytest.mark.parametrize(
    ("frames", "pieces", "order"),
    [
        ((), 0, PhysicalOrder.SAME),
        ((7,), 1, PhysicalOrder.SAME),
        ((7, 8, 9), 1, PhysicalOrder.SAME),
        ((9, 8, 7), 1, PhysicalOrder.REVERSE),
        ((8, 7, 9), 1, PhysicalOrder.OTHER),
        ((9, 8, 5), 2, PhysicalOrder.REVERSE),
        ((1, 5, 3), 3, PhysicalOrder.OTHER),
    ],
)
def test_pieces_and_order(frames: tuple[int, ...], pieces: int, order: PhysicalOrder) -> None:
    pages = at_frames(frames)
    assert (physical_pieces(pages), physical_order(pages)) == (pieces, order)


@given(st.permutations(range(6)))
def test_the_pieces_do_not_depend_on_the_order(frames: list[int]) -> None:
    assert physical_pieces(at_frames(frames)) == 1


@pytest.mark.parametrize(
    ("frames", "explained", "seen_outside"),
    [
        (
            (9, 8, 7),
            "they happen to fill one piece of physical memory, in reverse order.",
            "all 3 adjoin",
        ),
        ((7, 8, 9), "in the same order.", "all 3 adjoin, in the same order."),
        ((9, 8, 5), "the 3 here lie in 2 pieces of physical memory.", "3 pages in 2 pieces."),
        ((1, 5, 3), "the 3 here lie in 3 pieces of physical memory.", "no two of 3 adjoin."),
        ((1,), "here it is a single page.", "there is one."),
    ],
)
def test_the_claim_tells_it_as_it_is(frames: tuple[int, ...], explained: str, seen_outside: str) -> None:
    claim = ANYWHERE.judged(replace(SEEN, pages=at_frames(frames)))
    assert explained in claim.explanation
    assert seen_outside in claim.outside.summary
