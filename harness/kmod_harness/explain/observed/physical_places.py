"""How a module's pages lie in physical memory: in how many pieces, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from itertools import pairwise

from kmod_harness.explain.observed.observations import ModulePage

PAGE_SIZE = 4096


class PhysicalOrder(Enum):
    """How the order of the pages in physical memory relates to that of their addresses."""

    SAME = "the same order"
    REVERSE = "reverse order"
    OTHER = "another order"


def physical_order(pages: Sequence[ModulePage]) -> PhysicalOrder:
    """Return the order of the physical places; a single page has the same one."""
    places = [page.physical for page in sorted(pages, key=lambda page: page.virtual)]
    if places == sorted(places):
        return PhysicalOrder.SAME
    return PhysicalOrder.REVERSE if places == sorted(places, reverse=True) else PhysicalOrder.OTHER


def physical_pieces(pages: Sequence[ModulePage]) -> int:
    """Return of how many stretches of physical memory the pages are, in whatever order they fill them."""
    places = sorted(page.physical for page in pages)
    return bool(places) + sum(later - earlier != PAGE_SIZE for earlier, later in pairwise(places))
