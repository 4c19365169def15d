"""What was found left behind, and its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that a module left behind.

    module: name of the module
    what: in words, such as `the kernel's netdev_chain points to nb`
    symbol: the module's function or variable that it points to, "" for a name in a list
    place: where the kernel keeps it: a variable, a slab cache, or a list's path
    line: source line of the symbol, "" when not known
    """

    module: str
    what: str
    symbol: str
    place: str
    line: str = ""

    def __str__(self) -> str:
        return self.what + (f" ({self.line})" if self.line else "")


def told(findings: Sequence[Finding]) -> str:
    """Returns a line for each finding, those that say the same once."""
    return "\n".join(dict.fromkeys(str(finding) for finding in findings))
