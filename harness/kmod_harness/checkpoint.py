"""Prepare once, branch many times: a running guest saved as a template of its own.

The guest goes on after it. Its private RAM cannot be shared, so all of it goes
through a migration stream into a second QEMU, halted, whose RAM is the template's
file; from there a restore costs what it costs from any template.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .guest import Guest
from .guest.restore import EarlierLife, freshen
from .machine import RamFile, StateNotSaved
from .start import Prepared, start_machine
from .template import Template


def save_checkpoint(prepared: Prepared, guest: Guest, directory: Path) -> Template:
    """Saves a running guest under `directory`, which must be empty; the guest runs on.

    Open files and processes of the guest are part of it. Raises StateNotSaved, and
    what Watch.wait raises. Takes about a second.
    """
    if prepared.spec.qemu_args:
        raise StateNotSaved("a checkpoint does not hold what --qemu-arg adds: disks, for one")
    process = guest.syscaller
    # the log up to the very moment: the guest stands still from here until it is saved
    guest.machine.qmp("stop")
    files = (*guest.inherited, *(module.file for module in guest.modules))
    earlier = EarlierLife((process.number, process.pid), guest.kernel_log.raw, files, tuple(guest.spares))
    template = Template(directory, earlier)
    # unlinked at once: whatever happens, nothing of this size is left behind
    with tempfile.TemporaryFile(dir=directory) as stream:
        try:
            guest.machine.migration.save_all(stream.fileno())
        finally:
            guest.machine.qmp("cont")
        # its clock stood still
        freshen(process)
        os.lseek(stream.fileno(), 0, os.SEEK_SET)
        ram = RamFile(template.ram, shared=True)
        with start_machine(prepared, ram=ram, incoming=True, stopped=True) as halted:
            halted.migration.load_all(stream.fileno())
            halted.migration.save_state(template.state)
    return template
