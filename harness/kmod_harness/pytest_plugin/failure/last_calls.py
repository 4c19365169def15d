"""Where the test was when its kernel reported something: at its last call to the guest before that."""

from __future__ import annotations

import linecache
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from kmod_harness.pytest_plugin.failure.frames import is_users, package_of

#: Calls that are remembered of one test; calls in a row from one line count as one.
_MOST_CALLS = 4096


class Place(NamedTuple):
    """A line of the test's own code."""

    file: str
    line: int
    function: str


class LastCalls:
    """The lines that called the guest, each with the length that the kernel log had by then.

    mark: gives that length.
    """

    def __init__(self, mark: Callable[[], int]) -> None:
        self._mark = mark
        self._calls: deque[tuple[int, tuple[Place, ...]]] = deque(maxlen=_MOST_CALLS)

    def clear(self) -> None:
        self._calls.clear()

    def note(self) -> None:
        """Note the line that is about to call; what pytest or the harness call by themselves has none."""
        places = _places()
        if not self._calls or self._calls[-1][1] != places:
            self._calls.append((self._mark(), places))

    def before(self, index: int) -> tuple[Place, ...]:
        """Return the lines of the last call before the log's record of this index, the innermost last.

        () where none is known, or where no line of the test made it.
        """
        places = next((places for mark, places in reversed(self._calls) if mark <= index), ())
        return tuple(place._replace(file=os.path.abspath(place.file)) for place in places)


def shown(places: Sequence[Place], directory: Path) -> list[str]:
    """Return the lines as pytest shows frames, with paths relative to a directory they lie in."""
    told = []
    for place in places:
        path = Path(place.file)
        short = path.relative_to(directory) if path.is_relative_to(directory) else path
        told.append(f"{short}:{place.line}: in {place.function}")
        source = linecache.getline(place.file, place.line).strip()
        told += [f"    {source}"] if source else []
    return told


def _places() -> tuple[Place, ...]:
    """Return the lines of the test's own code that are under way, the innermost last."""
    places: list[Place] = []
    frame = sys._getframe(2)
    while frame.f_back is not None and package_of(frame) not in ("_pytest", "pluggy"):
        if is_users(frame):
            places.append(Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return tuple(reversed(places))
