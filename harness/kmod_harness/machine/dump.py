"""A stopped guest's memory in a file, with what a debugger needs to read it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import MachineFailure
from .memory import GuestMemory
from .qmp import CommandRefused

if TYPE_CHECKING:
    from .machine import Machine

#: `__START_KERNEL_map`, arch/x86/include/asm/page_64_types.h: where physical `phys_base` is mapped.
_START_KERNEL_MAP = 0xFFFFFFFF80000000
#: Symbols of vmlinux that the notes of a crash kernel hold, and drgn asks for; the page directory
#: has its old name there (kernel/crash_core.c, 6.1).
_SYMBOLS = {"init_uts_ns": "init_uts_ns", "swapper_pg_dir": "init_top_pgt", "_stext": "_stext"}


class DumpFailed(MachineFailure):
    """The guest's memory could not be written to a file."""


def dump_memory(machine: Machine, path: Path) -> None:
    """Writes RAM and the CPUs' registers as an ELF core file, packed; the guest stands still meanwhile.

    QEMU documentation, `dump-guest-memory` without paging: physical addresses. Raises DumpFailed, OSError.
    """
    from .packed import pack

    # in memory: a disk takes seconds for what is mostly zeros
    with GuestMemory(machine), os.fdopen(os.memfd_create("dump"), "rb") as whole:
        machine.pass_fd("dump", whole.fileno())
        try:
            machine.qmp("dump-guest-memory", {"paging": False, "protocol": "fd:dump"})
        except CommandRefused as error:
            raise DumpFailed(f"QEMU did not dump the guest's memory: {error}") from error
        pack(whole, path)


def vmcoreinfo(machine: Machine, symbols: Mapping[str, int], release: str, build_id: str) -> bytes:
    """Returns the notes that a kernel with CONFIG_KEXEC would have left, from vmlinux and the page tables.

    symbols: vmlinux's addresses as linked. Raises UnmappedAddress, KernelNotFound; KeyError for
    a symbol that is not there. Documentation/admin-guide/kdump/vmcoreinfo.rst, 6.1.
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
