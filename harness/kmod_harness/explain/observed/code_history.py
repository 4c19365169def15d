"""The module's code at each moment of its load, as bytes, for the page's first drawing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from kmod_harness.verify.mechanism import Mechanism


class Moment(StrEnum):
    """A moment at which the module's memory was read.

    COPIED: the sections are in place, no address is filled in
    LINKED: every relocation is applied, nothing else
    SEALED: before init's first instruction
    RUNNING: init has returned
    """

    COPIED = "copied"
    LINKED = "linked"
    SEALED = "sealed"
    RUNNING = "running"


@dataclass(frozen=True)
class CodeAtMoment:
    """The bytes of `.text`, read from memory while the machine was stopped.

    moment: the moment
    function: kernel function at whose first instruction the CPU was stopped, "" for none
    permissions: permissions of the section's first page, such as `rw-`
    code: the bytes
    """

    moment: Moment
    function: str
    permissions: str
    code: bytes = field(repr=False)


@dataclass(frozen=True)
class CodePatch:
    """Bytes of `.text` that the kernel changed after linking; the mechanism is one of verify's."""

    address: int
    size: int
    mechanism: Mechanism


@dataclass(frozen=True)
class CodeHistory:
    """`.text` from copy to use.

    moments: the moments that could be read, in order
    patches: changes after linking
    compared: relocations of the whole module, init's too, that were read in memory at LINKED
    differing: of these, relocations that differ from the independent linker's
    """

    moments: tuple[CodeAtMoment, ...] = ()
    patches: tuple[CodePatch, ...] = ()
    compared: int = 0
    differing: int = 0

    def at(self, moment: Moment) -> CodeAtMoment | None:
        """Returns the code at that moment, None when it could not be read."""
        return next((one for one in self.moments if one.moment is moment), None)


#: The history of code that was not read.
NO_HISTORY = CodeHistory()
