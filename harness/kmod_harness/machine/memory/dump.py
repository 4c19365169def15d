"""The memory of a stopped guest in a file, with the notes that a debugger needs to read it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kmod_harness.errors import GuestHang, MachineFailure
from kmod_harness.machine.memory.guest_memory import GuestMemory
from kmod_harness.machine.qmp import CommandRefused

if TYPE_CHECKING:
    from kmod_harness.machine.machine import Machine

#: `__START_KERNEL_map` (arch/x86/include/asm/page_64_types.h): address at which `phys_base` is mapped.
_START_KERNEL_MAP = 0xFFFFFFFF80000000
#: The most a pipe may hold without privileges (pipe(7)).
_PIPE_BYTES = 1 << 20
#: Seconds to wait for the next bytes (times 4 under emulation); all of 256 MiB take half a second.
_SECONDS = 5.0
#: Symbols in the notes of a crash kernel that drgn reads -> names in vmlinux. The page directory has its
#: old name in the notes (kernel/crash_core.c, 6.1).
_SYMBOLS = {"init_uts_ns": "init_uts_ns", "swapper_pg_dir": "init_top_pgt", "_stext": "_stext"}


class DumpFailed(MachineFailure):
    """The guest's memory could not be written to a file."""


def dump_memory(machine: Machine, path: Path) -> None:
    """Writes RAM and the CPUs' registers as a compressed ELF core file; the guest is stopped meanwhile.

    QEMU's `dump-guest-memory` without paging: physical addresses. Raises DumpFailed, QemuDied, OSError.
    """
    from kmod_harness.machine.memory.packed import pack  # lazy

    # compressed as it arrives, so that the host holds it all neither in memory nor on disk
    reading, writing = os.pipe()
    with GuestMemory(machine), os.fdopen(reading, "rb", buffering=0) as pipe:
        with os.fdopen(writing, "wb"):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            machine.begin("getfd", {"fdname": "dump"}, writing)
        done = machine.begin("dump-guest-memory", {"paging": False, "protocol": "fd:dump"})
        try:
            pack(_DumpStream(machine, pipe.fileno()), path)
            done.result(_SECONDS)
        except (CommandRefused, GuestHang, TimeoutError) as error:
            raise DumpFailed(f"QEMU did not dump the guest's memory: {error}") from error


class _DumpStream:
    """The pipe that QEMU writes the dump to, as a file to read from."""

    def __init__(self, machine: Machine, fd: int) -> None:
        self._machine = machine
        self._fd = fd

    def read(self, size: int) -> bytes:
        """Returns bytes, b"" at the end. Raises GuestHang when none arrive, QemuDied."""
        deadline = self._machine.deadline("QEMU's dump", _SECONDS)
        self._machine.watch.wait([self._fd], deadline, of_qemu=True)
        return os.read(self._fd, size)


def vmcoreinfo(machine: Machine, symbols: Mapping[str, int], release: str, build_id: str) -> bytes:
    """Returns the notes of a kernel with CONFIG_KEXEC, computed from vmlinux and the page tables.

    machine: the machine
    symbols: vmlinux's addresses as linked
    release: release of the kernel
    build_id: vmlinux's build-id, hexadecimal digits

    Raises UnmappedAddress, KernelNotFound; KeyError for a missing symbol.
    Documentation/admin-guide/kdump/vmcoreinfo.rst, 6.1.
    """
    with GuestMemory(machine) as memory:
        slide = memory.slide(symbols["_text"])
        stext = symbols["_stext"] + slide
        physical = memory.tables.page(stext).physical_of(stext)
        levels = memory.registers[0].page_table_levels
    lines = [
        f"OSRELEASE={release}",
        f"BUILD-ID={build_id}",
        "PAGESIZE=4096",
        *(f"SYMBOL({name})={symbols[linked] + slide:x}" for name, linked in _SYMBOLS.items()),
        f"NUMBER(phys_base)={physical + _START_KERNEL_MAP - stext}",
        f"NUMBER(pgtable_l5_enabled)={int(levels == 5)}",
        f"KERNELOFFSET={slide:x}",
    ]
    return "\n".join([*lines, ""]).encode()
