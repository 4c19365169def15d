"""The state of a failing guest: kept while the guest is stopped, and loaded again for a debugger.

state.json          machine and kernel it is of, where that kernel lies; or why there is no state
state.zst           RAM and devices as QEMU saves them, compressed
disk-NUMBER-DEPTH.qcow2   what the guest wrote to its disks
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kmod_harness.build.cache import default_cache
from kmod_harness.build.image.disk_image import blank_disk
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.errors import KmodHarnessError, MachineFailure, Misuse
from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.lifecycle.saved_guest import digest_of_disks, obstacle, save_disks, saved_disks
from kmod_harness.lifecycle.slide import slide_from_outside
from kmod_harness.machine.accelerator import Accelerator
from kmod_harness.machine.disks import DiskFile
from kmod_harness.machine.machine import Machine, find_qemu
from kmod_harness.machine.memory.guest_memory import GuestMemory
from kmod_harness.machine.memory.kernel_identity import check_vmlinux
from kmod_harness.machine.memory.packed import pack, unpacked
from kmod_harness.machine.rundir import base_directory
from kmod_harness.report.bundle_files import bundle_object, damage_told
from kmod_harness.report.kept_memory import keep_memory, kept_guest_directory
from kmod_harness.spec.spec import Spec

STATE, ABOUT = "state.zst", "state.json"


def keep_guest(machine: Machine, kernel: Kernel, *, memory: bool = True) -> Path | None:
    """Keeps what it can of a guest's memory and state; returns the directory, None where it kept nothing.

    The guest is stopped meanwhile, and runs on if it ran. Raises nothing, so that the verdict is not lost.
    """
    with contextlib.suppress(OSError):
        directory = kept_guest_directory()
        # the QEMU of a panicked guest still runs
        if machine.watch.qemu_is_alive():
            with contextlib.suppress(KmodHarnessError, OSError):
                if memory:
                    keep_memory(machine, kernel, directory)
            keep_state(machine, kernel, directory)
        if any(directory.iterdir()):
            return directory
        discard(directory)
    return None


def discard(directory: Path | None) -> None:
    """Removes the directory of `keep_guest` where no bundle took it."""
    if directory is not None:
        shutil.rmtree(directory, ignore_errors=True)


def keep_state(machine: Machine, kernel: Kernel, directory: Path) -> None:
    """Writes a guest's state into a directory; where that fails, the reason."""
    about: dict[str, Any] = {"obstacle": obstacle(machine.spec)}
    try:
        if not about["obstacle"]:
            with GuestMemory(machine), tempfile.TemporaryFile(dir=directory) as stream:
                machine.migration.save_all(stream.fileno())
                stream.seek(0)
                pack(stream, directory / STATE)
                save_disks(machine, directory)
                about |= _about(machine, kernel)
    except (KmodHarnessError, OSError) as error:
        (directory / STATE).unlink(missing_ok=True)
        about["obstacle"] = str(error)
    (directory / ABOUT).write_text(json.dumps(about, indent=2) + "\n")


def _about(machine: Machine, kernel: Kernel) -> dict[str, Any]:
    files = {name: None if value is None else str(value) for name, value in asdict(kernel).items()}
    return {
        "spec": asdict(machine.spec),
        "directory": os.getcwd(),
        "accelerator": asdict(machine.accelerator),
        "qemu": _qemu_version(machine),
        "kernel": files,
        "disks": [
            {"file": str(disk.file), "format": disk.format, "writable": disk.blank is not None}
            for disk in machine.disks
        ],
        "disk_digest": digest_of_disks(machine.disks),
    }


def _qemu_version(machine: Machine) -> str:
    told = machine.qmp("query-version")
    number = ".".join(str(told["qemu"][part]) for part in ("major", "minor", "micro"))
    return f"{number} {told['package']}".strip()


@dataclass(frozen=True)
class FailingState:
    """The state in a bundle, with everything needed to load it.

    directory: the bundle
    about: content of state.json
    kernel: kernel of the guest
    modules: modules that were loaded
    """

    directory: Path
    about: Mapping[str, Any]
    kernel: Kernel
    modules: tuple[KernelModule, ...]


def failing_state_in(bundle: Path) -> FailingState:
    """Returns the state in a bundle. Raises Misuse: not a bundle, no state in it, its kernel gone."""
    if not (bundle / "verdict.json").is_file():
        raise Misuse(
            f"{bundle} is not a bundle: it has no verdict.json",
            advice="a failed run or test names its bundle in its report",
        )
    about = bundle_object(bundle / ABOUT) if (bundle / ABOUT).exists() else {}
    if about.get("obstacle"):
        raise Misuse(
            f"the state of this guest could not be kept: {about['obstacle']}",
            advice=f"{bundle / 'reproduce.sh'} runs it again",
        )
    if "spec" not in about or not (bundle / STATE).is_file():
        raise Misuse(
            f"the bundle {bundle} holds no state of its guest",
            advice="a panic, a hang and an unexpected oops leave one; --dump asks for one of any failure",
        )
    with damage_told(bundle / ABOUT):
        kernel = _kernel(about["kernel"])
    for path in (kernel.vmlinux, kernel.system_map):
        if path is not None and not path.is_file():
            raise Misuse(
                f"the kernel of this state is missing: {path}",
                advice="kmod-harness kernel build makes it again, if the configuration is the same",
            )
    modules = tuple(read_module(path) for path in sorted(bundle.glob("modules/*.ko")))
    return FailingState(bundle, about, kernel, modules)


def load_failing_state(failing: FailingState) -> Machine:
    """Returns a stopped machine in the kept state; the caller closes it.

    Raises Misuse with the reason when it cannot be loaded here: another QEMU, a disk that was changed.
    """
    about = failing.about
    with damage_told(failing.directory / ABOUT):
        spec, accelerator, digest = _spec(about), Accelerator(**about["accelerator"]), about["disk_digest"]
        plain = tuple(map(_disk, about["disks"]))
    disks = saved_disks(plain, failing.directory)
    if digest_of_disks(disks) != digest:
        raise Misuse("the file of a disk was changed after the state of this guest was kept")
    with contextlib.ExitStack() as undo:
        machine = undo.enter_context(
            Machine(
                spec,
                # kernel and initramfs are in the kept RAM
                failing.kernel.bzimage,
                Path(),
                accelerator,
                qemu=find_qemu(),
                disks=disks,
                incoming=True,
                stopped=True,
            )
        )
        _load(machine, failing)
        undo.pop_all()
    return machine


def _load(machine: Machine, failing: FailingState) -> None:
    try:
        with unpacked(failing.directory / STATE, base_directory()) as stream:
            machine.migration.load_all(stream.fileno())
        if failing.kernel.vmlinux is not None:
            _check(machine, failing.kernel)
    except MachineFailure as failure:
        here = _qemu_version(machine) if machine.watch.qemu_is_alive() else machine.argv[0]
        raise Misuse(
            "the kept state does not load",
            evidence=f"{failure}\nsaved by QEMU {failing.about.get('qemu')}, here is {here}",
            advice=f"{failing.directory / 'reproduce.sh'} runs it again",
        ) from failure


def _check(machine: Machine, kernel: Kernel) -> None:
    """Raises VmlinuxMismatch when the vmlinux is not that of the state's kernel."""
    assert kernel.vmlinux is not None
    with GuestMemory(machine) as memory:
        check_vmlinux(memory.read_virtual, kernel.vmlinux, slide_from_outside(machine, kernel))


def _spec(about: Mapping[str, Any]) -> Spec:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in about["spec"].items()
    }
    if fields["firmware"]:
        fields["firmware"] = os.path.join(about["directory"], fields["firmware"])
    return Spec(**fields)


def _disk(fields: Mapping[str, Any]) -> DiskFile:
    file, form = Path(fields["file"]), fields["format"]
    return DiskFile(file, form, blank_disk(file, form, default_cache()) if fields["writable"] else None)


def _kernel(fields: Mapping[str, Any]) -> Kernel:
    paths: dict[str, Any] = {name: Path(value) for name, value in fields.items() if value is not None}
    return Kernel(**{**paths, "name": str(fields["name"]), "release": str(fields["release"])})
