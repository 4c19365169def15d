"""Where the kernel defines its functions, and how many of its subsystems call each (function-places.xz)."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: Made by harness/scripts/function_places.py from Linux 6.1, 6.12 and 7.2.
_LIST = Path(__file__).with_name("function-places.xz")
#: What one release puts behind a name that another has not: `_noprof` from 6.10 on (b951aaff5035), `_checked`
#: before 5.7.
_ENDING = re.compile(r"_(?:noprof|checked|noabort|nested)$")
_UNDERSCORES = ("", "_", "__", "___")
#: The place of what belongs to one driver, file system or protocol, or to a test.
ELSEWHERE = "-"


@dataclass(frozen=True)
class Place:
    """Where a function is defined.

    path: a file of one of the kernel's cores, a directory elsewhere; ELSEWHERE for one driver's and the like.
    level: binary logarithm of 1 + the number of subsystems that call it, rounded down.
    """

    path: str
    level: int


def place_of(function: str, *, exact: bool = False) -> Place | None:
    """Return where the kernel defines the function, None where no list names it.

    exact: by this name alone. Else a name of another release is found too, which differs in its underscores
        or its ending.
    """
    known = _places()
    if exact:
        return known.get(function)
    found = [known[name] for name in _spellings(function) if name in known]
    core = next((place for place in found if place.path != ELSEWHERE), None)
    return core or known.get(function)


def _spellings(function: str) -> Iterator[str]:
    yield function
    for name in dict.fromkeys((function, _ENDING.sub("", function))):
        yield from (underscores + name.lstrip("_") for underscores in _UNDERSCORES)


@cache
def _places() -> dict[str, Place]:
    """Return the list, read when a report is first judged: a log without one has no need of it."""
    found = {}
    for line in lzma.decompress(_LIST.read_bytes()).decode().splitlines():
        path, level, *names = line.split(" ")
        found.update(dict.fromkeys(names, Place(path, int(level))))
    return found
