"""A guest's memory kept for `crash`: the dump and its notes, in a directory that a bundle takes them from."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..build.kernels import Kernel
from ..build.place import bundle_root
from ..kmod.symbols import parse_system_map
from ..machine.dump import dump_memory, vmcoreinfo
from ..machine.kernel_identity import build_id_of, read_vmlinux_notes
from ..machine.machine import Machine


@dataclass(frozen=True)
class KeptMemory:
    """A dump in a directory of its own, and its notes; it is moved into a bundle, or discarded."""

    memory: Path
    notes: bytes

    def discard(self) -> None:
        """Removes the dump where no bundle took it; does nothing after one did."""
        shutil.rmtree(self.memory.parent, ignore_errors=True)


def keep_memory(machine: Machine, kernel: Kernel) -> KeptMemory | None:
    """Returns the dump of a machine that still has its QEMU; None for a kernel without vmlinux.

    Raises DumpFailed, UnmappedAddress, KernelNotFound, VmlinuxMismatch, OSError.
    """
    if kernel.vmlinux is None or kernel.system_map is None:
        return None
    build_id = build_id_of(read_vmlinux_notes(kernel.vmlinux).data).hex()
    symbols = parse_system_map(kernel.system_map.read_text()).address_of
    notes = vmcoreinfo(machine, symbols, kernel.release, build_id)
    # beside the bundles, so that one of them takes it by a rename
    parent = bundle_root()
    parent.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=".memory-", dir=parent)) / "memory.elf"
    dump_memory(machine, path)
    return KeptMemory(path, notes)
