"""The module's pages: in the order of their addresses, and where each lies in physical memory. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kmod_harness.explain.observed.observations import ModulePage
from kmod_harness.explain.observed.physical_places import (
    PAGE_SIZE,
    PhysicalOrder,
    physical_order,
    physical_pieces,
)
from kmod_harness.explain.page.address_space import permission_kind
from kmod_harness.explain.page.scale import Span, visible_focus
from kmod_harness.explain.page.wording import count_text, number_word

#: More pages than this are listed by runs of equal ones, and drawn without numbers.
MAX_SINGLE = 24
#: Rows of the table at most, whatever the module's size.
MAX_ROWS = 120


@dataclass(frozen=True)
class DrawnPage:
    """One page as drawn: its cell in the upper bar and its place in the lower one, in per cent.

    number: from 1, in the order of addresses.
    """

    number: int
    kind: str
    left: float
    width: float
    physical_left: float
    physical_width: float


@dataclass(frozen=True)
class Row:
    """Equal neighbours in the table: pages `first` to `last`, numbered from 1."""

    first: int
    last: int
    page: ModulePage
    sections: tuple[str, ...]
    kind: str
    frames: str


@dataclass(frozen=True)
class PagesPicture:
    """Pages above, the stretch of physical memory that holds them below, all of RAM at the bottom.

    window: that stretch, bytes. focus: where it lies in RAM, left and right in per cent.
    numbers_by_place: page numbers in the order of their physical addresses, () when too many.
    runs: how many there are of pages in a row. pieces, order: how they lie in physical memory.
    open_by_detour: how many read-only pages may be written by their direct-map alias.
    """

    pages: tuple[DrawnPage, ...]
    rows: tuple[Row, ...]
    left_out: int
    window: Span
    ram: Span
    focus: tuple[float, float]
    numbers_by_place: tuple[int, ...]
    runs: int
    pieces: int
    order: PhysicalOrder
    open_by_detour: int

    @property
    def numbered(self) -> bool:
        return len(self.pages) <= MAX_SINGLE

    @property
    def summary(self) -> str:
        """How the pages lie in physical memory, in a sentence."""
        total = len(self.pages)
        if total == 1:
            return "It is a single page."
        if self.pieces == 1:
            return (
                f"On this boot they happen to fill one piece of physical memory, in {self.order.value}. "
                "Nothing requires it: page tables can join any pages."
            )
        if self.pieces == total:
            return "In physical memory no two of them are neighbours."
        pieces = number_word(self.pieces)
        return f"In physical memory they lie in {pieces} pieces: some are neighbours there, by accident."


def pages_picture(pages: Sequence[ModulePage], ram_size: int) -> PagesPicture:
    """Returns the drawing of the pages; `ram_size` in bytes, what the machine was given.

    Raises ValueError: no pages.
    """
    if not pages:
        raise ValueError("a module without pages cannot be drawn")
    ordered = sorted(pages, key=lambda page: page.virtual)
    physical = sorted(page.physical for page in ordered)
    window = _window(physical[0], physical[-1] + PAGE_SIZE)
    # memory above 3 or 4 GiB is moved up by the PCI hole: RAM's end may lie above its size
    ram = Span(0, max(ram_size, window.end))
    cell = 100.0 / len(ordered)
    drawn = tuple(
        DrawnPage(
            number=number + 1,
            kind=permission_kind(page.permissions),
            left=number * cell,
            width=cell,
            physical_left=window.position(page.physical),
            physical_width=window.position(page.physical + PAGE_SIZE) - window.position(page.physical),
        )
        for number, page in enumerate(ordered)
    )
    by_place = sorted(range(len(ordered)), key=lambda index: ordered[index].physical)
    rows = tuple(_rows(ordered))
    return PagesPicture(
        pages=drawn,
        rows=rows[:MAX_ROWS],
        left_out=len(rows) - len(rows[:MAX_ROWS]),
        window=window,
        ram=ram,
        focus=visible_focus(ram.position(window.start), ram.position(window.end)),
        numbers_by_place=tuple(index + 1 for index in by_place) if len(ordered) <= MAX_SINGLE else (),
        runs=1 + sum(not _in_a_row(*pair) for pair in itertools.pairwise(ordered)),
        pieces=physical_pieces(ordered),
        order=physical_order(ordered),
        open_by_detour=sum("w" in page.alias_permissions and "w" not in page.permissions for page in ordered),
    )


def _in_a_row(page: ModulePage, next_one: ModulePage) -> bool:
    return next_one.virtual - page.virtual == PAGE_SIZE


def _window(first: int, last: int) -> Span:
    """Returns the stretch that holds the pages, with some room at both ends; whole pages."""
    room = max(4 * PAGE_SIZE, (last - first) // 16 // PAGE_SIZE * PAGE_SIZE)
    return Span(max(0, first - room), last + room)


def _rows(pages: Sequence[ModulePage]) -> Iterator[Row]:
    """Single pages while they are few, else runs of the same permissions."""
    run: list[ModulePage] = []
    first = 1
    for number, page in enumerate([*pages, None], 1):
        same = page is not None and run and len(pages) > MAX_SINGLE and _alike(page, run[-1])
        if run and not same:
            yield _row(first, run)
            run, first = [], number
        if page is not None:
            run.append(page)


def _row(first: int, run: Sequence[ModulePage]) -> Row:
    sections = tuple(dict.fromkeys(name for page in run for name in page.sections))
    frames = "" if len(run) == 1 else f"{count_text(len(run))} frames"
    kind = permission_kind(run[0].permissions)
    return Row(first, first + len(run) - 1, run[0], sections, kind, frames)


def _alike(page: ModulePage, other: ModulePage) -> bool:
    return (page.permissions, page.alias_permissions) == (other.permissions, other.alias_permissions)
