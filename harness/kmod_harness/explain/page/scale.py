"""Ranges of addresses drawn to scale: where each lies in a bar, in per cent of its width. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

#: A band narrower than this share of its bar is drawn as a hairline, and the legend says so (per cent).
HAIRLINE = 0.4
#: A part of a bar narrower than this holds no name on any screen (per cent).
NAMELESS = 3.0


@dataclass(frozen=True)
class Band:
    """A named range in a bar: `left` and `width` in per cent of the bar, true to scale.

    kind: what the stylesheet colours it by. name_left, name_width: the part for its name, in per cent of
    the bar, 0 wide if there is none; whether the name fits there only the browser knows, by its font.
    """

    name: str
    kind: str
    start: int
    end: int
    left: float
    width: float
    note: str = ""
    name_left: float = 0.0
    name_width: float = 0.0

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def hairline(self) -> bool:
        """Whether it is too small to be seen at this scale, and drawn as a line."""
        return self.width < HAIRLINE


@dataclass(frozen=True)
class Span:
    """The range of a bar: `start` to `end`, `end` excluded, less a `hole` that is left out (0, 0: none)."""

    start: int
    end: int
    hole: tuple[int, int] = (0, 0)

    @property
    def size(self) -> int:
        return self.end - self.start - (self.hole[1] - self.hole[0])

    def position(self, address: int) -> float:
        """Returns where the address lies in the bar, 0 to 100."""
        first, last = self.hole
        inside = min(max(address, self.start), self.end)
        if inside >= last > first:
            inside -= last - first
        elif inside > first and last > first:
            inside = first
        return 100.0 * (inside - self.start) / self.size

    def band(self, name: str, kind: str, start: int, end: int, note: str = "") -> Band:
        """Returns the range as a band of this bar."""
        left, right = self.position(start), self.position(end)
        return Band(name, kind, start, end, left, right - left, note)


@dataclass(frozen=True)
class Level:
    """One step of a magnification: a bar, the bands in it, and where the next step's range lies in it.

    focus: left and right in per cent, (0, 0) in the last step. magnified: how many times the step
    before shows more, 1 in the first. ticks: page borders in per cent. ground: what the bar itself is
    coloured by. left_out: bands that are too many to be drawn.
    """

    key: str
    title: str
    text: str
    span: Span
    bands: tuple[Band, ...]
    focus: tuple[float, float] = (0.0, 0.0)
    magnified: int = 1
    ticks: tuple[float, ...] = ()
    ground: str = ""
    left_out: int = 0


def visible_focus(left: float, right: float) -> tuple[float, float]:
    """Returns left and right of a range, widened to a hairline where it could not be seen."""
    missing = max(0.0, HAIRLINE - (right - left)) / 2
    return max(0.0, left - missing), min(100.0, right + missing)


def with_names_placed(bands: Sequence[Band]) -> tuple[Band, ...]:
    """Returns the bands with their names placed: in the widest part that no other band covers."""
    placed = []
    for band in bands:
        start, end = band.left, band.left + band.width
        over = [o for o in bands if o.width < band.width and start <= o.left < end]
        borders = sorted((start, end, *(edge for o in over for edge in (o.left, min(end, o.left + o.width)))))
        free = (
            (right - left, left)
            for left, right in pairwise(borders)
            if not any(o.left < (left + right) / 2 < o.left + o.width for o in over)
        )
        width, left = max(free, default=(0.0, start))
        placed.append(replace(band, name_left=left, name_width=width if width >= NAMELESS else 0.0))
    return tuple(placed)


def largest(bands: Sequence[Band], count: int) -> tuple[Band, ...]:
    """Returns the `count` largest bands, in the order of their addresses."""
    chosen = sorted(bands, key=lambda band: -band.size)[:count]
    return tuple(sorted(chosen, key=lambda band: band.start))
