"""What a kernel said: log records, splats, and the outcome they mean. Pure.

Names are looked up on first use: the patterns of all reports take 20 ms to compile, and
a log is read long before it is judged.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .kinds import SplatKind as SplatKind
    from .outcome import Outcome as Outcome
    from .outcome import error_for as error_for
    from .outcome import outcome_of as outcome_of
    from .outcome import outcome_of_error as outcome_of_error
    from .outcome import worst as worst
    from .records import ConsoleParser as ConsoleParser
    from .records import KernelRecord as KernelRecord
    from .records import parse_console as parse_console
    from .records import parse_kmsg as parse_kmsg
    from .splats import Splat as Splat
    from .splats import find_splats as find_splats

_NAMES_BY_FILE = {
    "kinds": ("SplatKind",),
    "outcome": ("Outcome", "error_for", "outcome_of", "outcome_of_error", "worst"),
    "records": ("ConsoleParser", "KernelRecord", "parse_console", "parse_kmsg"),
    "splats": ("Splat", "find_splats"),
}
_FILE_OF = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}


def __getattr__(name: str) -> object:
    """Returns a public name from its file (PEP 562)."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
