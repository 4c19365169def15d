"""A saved guest: RAM file, device state, disk layers, and what the harness knows of it.

The QEMU it was saved from never writes to the RAM file again: it was killed, or goes on with other memory.
Each restore is a new QEMU process on a copy-on-write mapping of the file.
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
    """The machine has no saved guest that can be restored; the text says why. A cold boot follows."""


class SavedGuestDamaged(SavedGuestUnusable):
    """A saved guest does not load: it is discarded, and made again when next asked for."""


@dataclass(frozen=True)
class SavedGuest:
    """A saved guest on disk: a template or a checkpoint.

    directory: directory of its files
    facts: what the harness knows of the guest
    disks: its disks, with what the guest had written to them
    disk_digest: digest of the user's disk files when it was saved
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
    """Returns the reason why guests of this machine cannot be saved, "" where they can.

    QEMU refuses to save some devices; others, such as edu, it silently restores as if they had been reset. It
    saves virtio devices completely, except for a file that one refers to (romfile=, evdev=).
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
    """Returns a digest of the user's disk files as they are now, "" without disks. Raises Misuse."""
    from kmod_harness.build.image.disk_image import image_digest  # lazy

    cache = default_cache()
    return digest_of(*(image_digest(disk.file, disk.format, cache) for disk in disks)) if disks else ""


def save_disks(machine: Machine, directory: Path) -> None:
    """Keeps what this guest, and those it descends from, wrote: `disk-NUMBER-DEPTH.qcow2`, one file a layer.

    Called after QEMU has saved the guest's state, and so has flushed its disks. A restore then needs only
    these files and the user's own.
    """
    for number, disk in enumerate(machine.disks):
        for depth, layer in enumerate(disk.layers):
            _link_or_copy(layer, directory / f"disk-{number}-{depth}.qcow2")
        written = overlay_path(machine.directory, number)
        if disk.blank is not None and not filecmp.cmp(written, disk.blank, shallow=False):
            shutil.copyfile(written, directory / f"disk-{number}-{len(disk.layers)}.qcow2")


def saved_disks(disks: Sequence[DiskFile], directory: Path) -> tuple[DiskFile, ...]:
    """Returns the disks with the layers that `save_disks` wrote, in place of their own."""
    saved = []
    for number, disk in enumerate(disks):
        count = len(list(directory.glob(f"disk-{number}-*.qcow2")))
        layers = (directory / f"disk-{number}-{depth}.qcow2" for depth in range(count))
        saved.append(replace(disk, layers=tuple(layers)))
    return tuple(saved)


def _link_or_copy(layer: Path, path: Path) -> None:
    """Makes `path` a file with the content of a layer that nobody writes to any more."""
    try:
        os.link(layer, path)
    except OSError:
        shutil.copyfile(layer, path)


def restore(
    prepared: Prepared, saved: SavedGuest, clock: Clock | None = None, *, boot_timeout: float | None = None
) -> Guest:
    """Returns a new guest in the state of a saved one; the caller closes its machine.

    `boot_timeout` is in seconds, and not stretched under emulation. Raises SavedGuestUnusable when the saved
    guest does not load, BootFailed when it takes longer than `boot_timeout`, OSError for what this machine
    refuses.
    """
    # what the saved kernel has cached of the disks must still be true
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
                own_modules=lambda: prepared.own_modules,
                saved=saved.facts,
                boot_timeout=boot_timeout,
            )
        except NoRunDirectory:
            raise
        # a descriptor or process that this machine refuses (another OSError) is no damage either
        except (KmodHarnessError, FileNotFoundError, ConnectionError) as error:
            if boot_timeout is not None and isinstance(error, GuestHang):
                # the limit is the user's: the saved guest may be sound
                raise BootFailed(
                    f"the saved guest was not ready within {boot_timeout:g} s", evidence=error.evidence
                ) from error
            reason = error.message if isinstance(error, KmodHarnessError) else str(error)
            raise SavedGuestDamaged(f"the saved guest did not load: {reason}") from error
        undo.pop_all()
        return guest
