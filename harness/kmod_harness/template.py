"""A saved guest: a RAM file, the device state beside it, and what its guest left.

The QEMU it was saved from is killed, or goes on elsewhere, and never writes to that file again;
every guest is a new process on a copy-on-write mapping of it, so a restore and a clone are one thing.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from .errors import KmodHarnessError
from .guest import Guest
from .guest.restore import EarlierLife
from .machine import Clock, RamFile
from .start import Prepared, start_machine


class TemplateUnusable(Exception):
    """Why a machine has no template that loads; a cold boot follows."""


class TemplateDamaged(TemplateUnusable):
    """A template was there and did not load: it is discarded, and made anew when next asked for."""


@dataclass(frozen=True)
class Template:
    """A saved guest on disk, and the life it had until then."""

    directory: Path
    earlier: EarlierLife = field(repr=False)

    @property
    def ram(self) -> Path:
        return self.directory / "ram"

    @property
    def state(self) -> Path:
        return self.directory / "state"


def restore(prepared: Prepared, template: Template, clock: Clock | None = None) -> Guest:
    """Returns a new guest in the state of its template; whoever takes it closes its machine.

    Raises TemplateUnusable when the template does not load.
    """
    with contextlib.ExitStack() as undo:
        try:
            ram = RamFile(template.ram, shared=False)
            machine = undo.enter_context(start_machine(prepared, ram=ram, incoming=True, clock=clock))
            machine.migration.load_state(template.state)
            guest = Guest(machine, kernel_facts=prepared.kernel_facts, earlier=template.earlier)
        except (KmodHarnessError, OSError) as error:
            reason = error.message if isinstance(error, KmodHarnessError) else str(error)
            raise TemplateDamaged(f"the saved guest did not load: {reason}") from error
        undo.pop_all()
        return guest
