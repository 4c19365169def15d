"""The module's code at each moment of its load, as bytes: what the page's first drawing is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from kmod_harness.verify.mechanism import Mechanism


class Moment(StrEnum):
    """When the module's memory was read.

    COPIED: the sections are in place, no address is filled in. LINKED: every relocation is applied, nothing
    else. SEALED: before init's first instruction. RUNNING: init has returned.
    """

    COPIED = "copied"
    LINKED = "linked"
    SEALED = "sealed"
    RUNNING = "running"


@dataclass(frozen=True)
class CodeAtMoment:
    """The bytes of `.text`, read from the machine's memory while it stood still.

    function: of the kernel, at whose first instruction the CPU stood, "" for none. permissions: of the
    section's first page, as `rw-`.
    """

    moment: Moment
    function: str
    permissions: str
    code: bytes = field(repr=False)


@dataclass(frozen=True)
class CodePatch:
    """Bytes of `.text` that the kernel changed once it had linked them; the mechanism is verify's."""

    address: int
    size: int
    mechanism: Mechanism


@dataclass(frozen=True)
class CodeHistory:
    """`.text` from copy to use: moments in the order of time, those that could be seen.

    compared, differing: relocations of the whole module, init's too, that were looked up in memory at LINKED,
    and how many of them were not as the independent linker has them.
    """

    moments: tuple[CodeAtMoment, ...] = ()
    patches: tuple[CodePatch, ...] = ()
    compared: int = 0
    differing: int = 0

    def at(self, moment: Moment) -> CodeAtMoment | None:
        """Return what was read at that moment, None when it could not be seen."""
        return next((one for one in self.moments if one.moment is moment), None)


#: Of code that was not looked at.
NO_HISTORY = CodeHistory()
