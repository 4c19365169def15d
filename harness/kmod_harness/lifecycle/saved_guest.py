"""A saved guest: a RAM file, the device state beside it, and what its guest left.

The QEMU it was saved from is killed, or goes on elsewhere, and never writes to that file again;
every guest is a new process on a copy-on-write mapping of it, so a restore and a clone are one thing.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kmod_harness.build.cache import default_cache, digest_of
from kmod_harness.errors import BootFailed, GuestHang, KmodHarnessError
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.restore import SavedFacts
from kmod_harness.lifecycle.prepare import Prepared, start_machine
from kmod_harness.machine.argv import RamFile
from kmod_harness.machine.deadline import Clock
from kmod_harness.machine.disks import DiskFile, overlay_path
from kmod_harness.machine.machine import Machine
from kmod_harness.machine.rundir import NoRunDirectory
from kmod_harness.spec.spec import Spec


class SavedGuestUnusable(Exception):
    """Why a machine has no template that loads; a cold boot follows."""


class SavedGuestDamaged(SavedGuestUnusable):
    """A template was there and did not load: it is discarded, and made anew when next asked for."""


@dataclass(frozen=True)
class SavedGuest:
    """A saved guest on disk, and the life it had until then.

    disks: its own, with what it had written to them. disk_digest: of what the user's files held then.
    """

    directory: Path
    facts: SavedFacts = field(repr=False)
    disks: tuple[DiskFile, ...] = ()
    disk_digest: str = ""

    @property
    def ram(self) -> Path:
        return self.directory / "ram"

    @property
    def state(self) -> Path:
        return self.directory / "state"


def obstacle(spec: Spec) -> str:
    """Returns why guests of this machine cannot be saved, "" when they can.

    QEMU refuses to save some devices; others, such as edu, it restores in the state of a reset, without
    a word. Of virtio devices it saves all they are, but not the file that one names (romfile=, evdev=).
    """
    if spec.qemu_args:
        return "--qemu-arg may add what QEMU does not save, or what two guests cannot share"
    for device in spec.devices:
        if not device.startswith("virtio-"):
            return f"QEMU may not save the device {device}"
        if "/" in device:
            return f"the device {device} names a file, which may change"
    return ""


def digest_of_disks(disks: Sequence[DiskFile]) -> str:
    """Returns what stands for the content of the user's files now, "" without disks. Raises Misuse."""
    from kmod_harness.build.image.disk_image import image_digest

    cache = default_cache()
    return digest_of(*(image_digest(disk.file, disk.format, cache) for disk in disks)) if disks else ""


def save_disks(machine: Machine, directory: Path) -> None:
    """Keeps what a guest and those before it wrote to its disks: `disk-NUMBER-DEPTH.qcow2`, a layer each.

    QEMU has flushed it when it has saved the guest's state. Nothing elsewhere but the user's files is
    needed by what is saved here.
    """
    for number, disk in enumerate(machine.disks):
        for depth, layer in enumerate(disk.layers):
            _link_or_copy(layer, directory / f"disk-{number}-{depth}.qcow2")
        written = overlay_path(machine.directory, number)
        if disk.blank is not None and not filecmp.cmp(written, disk.blank, shallow=False):
            shutil.copyfile(written, directory / f"disk-{number}-{len(disk.layers)}.qcow2")


def saved_disks(disks: Sequence[DiskFile], directory: Path) -> tuple[DiskFile, ...]:
    """Returns these disks with the layers that `save_disks` put there, in place of their own."""
    saved = []
    for number, disk in enumerate(disks):
        count = len(list(directory.glob(f"disk-{number}-*.qcow2")))
        layers = (directory / f"disk-{number}-{depth}.qcow2" for depth in range(count))
        saved.append(replace(disk, layers=tuple(layers)))
    return tuple(saved)


def _link_or_copy(layer: Path, path: Path) -> None:
    """Makes `path` hold what a layer, which nobody writes to any more, holds."""
    try:
        os.link(layer, path)
    except OSError:
        shutil.copyfile(layer, path)


def restore(
    prepared: Prepared, saved: SavedGuest, clock: Clock | None = None, *, boot_timeout: float | None = None
) -> Guest:
    """Returns a new guest in the state of its template; whoever takes it closes its machine.

    Raises SavedGuestUnusable when the template does not load, BootFailed when that takes longer than
    `boot_timeout`, in seconds and exact, OSError for what this machine refuses.
    """
    # what it remembers of its disks, in its page cache for one, must still be so
    if digest_of_disks(saved.disks) != saved.disk_digest:
        raise SavedGuestUnusable("the file of a disk was changed after the guest was saved")
    if not os.access(saved.ram, os.W_OK):
        # QEMU opens it for writing, though it maps it privately (QEMU system/physmem.c: file_ram_open)
        raise SavedGuestUnusable("the saved guest is in a cache that cannot be written")
    with contextlib.ExitStack() as undo:
        try:
            ram = RamFile(saved.ram, shared=False)
            machine = undo.enter_context(
                start_machine(prepared, disks=saved.disks, ram=ram, state=saved.state, clock=clock)
            )
            guest = Guest(
                machine,
                kernel_facts=prepared.kernel_facts,
                saved=saved.facts,
                boot_timeout=boot_timeout,
            )
        except NoRunDirectory:
            raise
        # what else this machine refuses (a descriptor, a process) is no damage of the template either
        except (KmodHarnessError, FileNotFoundError, ConnectionError) as error:
            if boot_timeout is not None and isinstance(error, GuestHang):
                # the limit was the user's: the template may be sound
                raise BootFailed(
                    f"the saved guest was not ready within {boot_timeout:g} s", evidence=error.evidence
                ) from error
            reason = error.message if isinstance(error, KmodHarnessError) else str(error)
            raise SavedGuestDamaged(f"the saved guest did not load: {reason}") from error
        undo.pop_all()
        return guest
