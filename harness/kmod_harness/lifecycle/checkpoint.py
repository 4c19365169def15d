"""A checkpoint: a running guest saved under a directory, from which other guests are restored.

The guest runs on afterwards. Its RAM is private to its QEMU and cannot be shared, so a migration stream
carries all of it into a second, halted QEMU whose RAM is a file. A restore from that file costs as much as
one from a template.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from kmod_harness.errors import QemuDied, StateNotSaved
from kmod_harness.guest.agent.protocol import Kind
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.restore import SavedFacts, freshen
from kmod_harness.lifecycle.prepare import Prepared, start_machine
from kmod_harness.lifecycle.saved_guest import SavedGuest, digest_of_disks, obstacle, save_disks, saved_disks
from kmod_harness.machine.argv import RamFile

#: Seconds to wait for a moment between two frames (times 4 under emulation); usually none.
_QUIET_SECONDS = 15.0


def save_checkpoint(prepared: Prepared, guest: Guest, directory: Path) -> SavedGuest:
    """Saves a running guest under `directory`, which must be empty; the guest runs on.

    Open files and processes of the guest are part of it. Takes about a second. Raises StateNotSaved, also for
    a guest whose kernel has reported trouble, and what Watch.wait raises.
    """
    if reason := obstacle(prepared.spec):
        raise StateNotSaved(f"no checkpoint of this machine can be taken: {reason}")
    process = guest.syscaller
    _require_no_report(guest)
    _stop_between_frames(guest)
    # the log is complete: the guest is stopped until it is saved
    files = (*guest._inherited, *(module.file for module in guest.modules))
    facts = SavedFacts((process.number, process.pid), guest.kernel_log.raw, files, tuple(guest._spares))
    # the file has no name, so that it is gone however this ends
    with tempfile.TemporaryFile(dir=directory) as stream:
        try:
            guest.machine.migration.save_all(stream.fileno())
            save_disks(guest.machine, directory)
        finally:
            guest.machine.qmp("cont")
        # its clock stopped with it
        freshen(process)
        os.lseek(stream.fileno(), 0, os.SEEK_SET)
        disks = saved_disks(guest.machine.disks, directory)
        saved = SavedGuest(directory, facts, disks, digest_of_disks(disks))
        try:
            _lay_out(prepared, saved, stream.fileno())
        except QemuDied as death:
            # this is the halted QEMU: on a full disk it dies of SIGBUS in its RAM file
            raise StateNotSaved(
                "the checkpoint could not be written",
                evidence=death.evidence,
                advice=f"make room in {directory}: a checkpoint needs twice the RAM that the guest uses",
            ) from death
    return saved


def _require_no_report(guest: Guest) -> None:
    """Raises StateNotSaved after a report: much of what finds bugs reports once and is off from then on."""
    log = guest.kernel_log
    log.complete(guest.syscaller)
    reports = log.splats_since(log.restore_mark)
    if reports:
        first = reports[0]
        raise StateNotSaved(
            f"no checkpoint is taken of a guest whose kernel has reported {first.kind}: {first.title}",
            evidence=first.text,
            advice="what branches from it could not report the same again: take the checkpoint before it",
        )


def _stop_between_frames(guest: Guest) -> None:
    """Stops the guest between two frames: a restored one would take the rest of a cut frame for a new one."""
    deadline = guest.machine.deadline("a moment for a checkpoint", _QUIET_SECONDS)
    while True:
        # the answer comes after the rest of a frame that a deadline had cut off
        guest._channel.ask(Kind.HELLO, deadline=deadline)
        guest.machine.qmp("stop")
        if guest._channel.is_between_frames():
            return
        guest.machine.qmp("cont")


def _lay_out(prepared: Prepared, saved: SavedGuest, stream: int) -> None:
    """Converts a migration stream to a RAM file and a device state, by a QEMU that never runs."""
    ram = RamFile(saved.ram, shared=True)
    with start_machine(prepared, disks=saved.disks, ram=ram, incoming=True, stopped=True) as halted:
        halted.migration.load_all(stream)
        halted.migration.save_state(saved.state)
