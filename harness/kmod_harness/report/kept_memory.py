"""The memory of a guest kept for `crash`: dump and notes, in a directory whose files a bundle takes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.host.directories import bundle_root
from kmod_harness.kmod.symbols.symbol_files import parse_system_map
from kmod_harness.machine.machine import Machine
from kmod_harness.machine.memory.dump import dump_memory, vmcoreinfo
from kmod_harness.machine.memory.kernel_identity import build_id_of, read_vmlinux_notes
from kmod_harness.report.crash_dump import MEMORY, VMCOREINFO


def kept_guest_directory() -> Path:
    """Returns a new directory for a guest's memory and state; a bundle takes its files, or it is removed."""
    # on the bundles' file system, so that files are moved by a rename
    parent = bundle_root()
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=".guest-", dir=parent))


def keep_memory(machine: Machine, kernel: Kernel, directory: Path) -> None:
    """Dumps the memory of a machine whose QEMU still runs; does nothing for a kernel without vmlinux.

    Raises DumpFailed, UnmappedAddress, KernelNotFound, VmlinuxMismatch, OSError.
    """
    if kernel.vmlinux is None or kernel.system_map is None:
        return
    build_id = build_id_of(read_vmlinux_notes(kernel.vmlinux).data).hex()
    symbols = parse_system_map(kernel.system_map.read_text()).address_of
    notes = vmcoreinfo(machine, symbols, kernel.release, build_id)
    dump_memory(machine, directory / MEMORY)
    (directory / VMCOREINFO).write_bytes(notes)
