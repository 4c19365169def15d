"""Proof of how modules were loaded: every byte in memory predicted from the .ko, or explained by name.

`verify_modules` reads the guest from outside, replays what the kernel wrote, and gives a
Report. Names are looked up on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .changes import CodeChange as CodeChange
    from .changes import code_changes as code_changes
    from .comparison import Difference as Difference
    from .inspection import verify_modules as verify_modules
    from .mechanism import NOT_DETERMINED as NOT_DETERMINED
    from .mechanism import Mechanism as Mechanism
    from .report import Finding as Finding
    from .report import FindingKind as FindingKind
    from .report import ModuleReport as ModuleReport
    from .report import Report as Report
    from .report import SectionReport as SectionReport
    from .report import Totals as Totals
    from .report import totals as totals
    from .verdict import ModuleNotExplained as ModuleNotExplained
    from .verdict import require_explained as require_explained

_NAMES_BY_FILE = {
    "changes": ("CodeChange", "code_changes"),
    "comparison": ("Difference",),
    "inspection": ("verify_modules",),
    "mechanism": ("NOT_DETERMINED", "Mechanism"),
    "report": ("Finding", "FindingKind", "ModuleReport", "Report", "SectionReport", "Totals", "totals"),
    "verdict": ("ModuleNotExplained", "require_explained"),
}
_FILE_OF = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}


def __getattr__(name: str) -> object:
    """Returns the public name from its file (PEP 562)."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
