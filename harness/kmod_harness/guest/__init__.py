"""The same machine seen from inside: agent, serial shell, SSH, kernel log; `Guest` ties them.

Names are looked up on first use: who only wakes a restored guest waits for nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .guest import Guest as Guest
    from .jobs import Completed as Completed
    from .module import LoadedModule as LoadedModule
    from .process import Process as Process
    from .process import ProcessKilled as ProcessKilled

_FILE_OF = {
    "Completed": "jobs",
    "Guest": "guest",
    "LoadedModule": "module",
    "Process": "process",
    "ProcessKilled": "process",
}


def __getattr__(name: str) -> object:
    """Returns a public name from its file (PEP 562)."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
