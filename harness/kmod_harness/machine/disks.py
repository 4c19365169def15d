"""A machine's disks: the user's file, never written, under a copy-on-write layer of the machine's own."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DiskFile:
    """A disk that is there to be attached.

    blank: an empty qcow2 of the disk's size, of which each machine gets a copy to write to; None for a
    disk that the guest cannot write to. layers: qcow2 files between the user's file and that copy, which
    hold what a saved guest had written, the oldest first.
    """

    file: Path
    format: str
    blank: Path | None
    layers: tuple[Path, ...] = ()


def overlay_path(directory: Path, number: int) -> Path:
    """Returns where what a machine writes to its disk of that number goes."""
    return directory / f"disk-{number}.qcow2"


def make_overlays(disks: Sequence[DiskFile], directory: Path) -> None:
    """Gives each disk that can be written to its file in a machine's private directory."""
    for number, disk in enumerate(disks):
        if disk.blank is not None:
            shutil.copyfile(disk.blank, overlay_path(directory, number))


def disk_argv(disks: Sequence[DiskFile], directory: Path) -> list[str]:
    """Returns QEMU's arguments for the disks, the first one the guest's /dev/vda."""
    argv = []
    for number, disk in enumerate(disks):
        name = f"disk{number}"
        files = [(disk.file, disk.format), *((layer, "qcow2") for layer in disk.layers)]
        nodes = [
            f"driver={format},file.driver=file,file.filename={option_value(file)},read-only=on"
            for file, format in files
        ]
        if disk.blank is not None:
            # what it holds ends with the machine: a guest's flush need not reach this host's disk
            own = f"file.driver=file,file.filename={option_value(overlay_path(directory, number))}"
            nodes.append(f"driver=qcow2,{own},discard=unmap,cache.no-flush=on")
        backing = ""
        for depth, node in enumerate(nodes):
            # the whole chain is named here, so that no file holds another's path
            node_name = name if depth == len(nodes) - 1 else f"{name}-{depth}"
            argv += ["-blockdev", f"node-name={node_name},{node}{backing}"]
            backing = f",backing={node_name}"
        argv += ["-device", f"virtio-blk-pci,drive={name}"]
    return argv


def option_value(path: Path) -> str:
    """Returns the path with commas doubled, as QEMU's option parser wants them (qemu(1))."""
    return str(path).replace(",", ",,")
