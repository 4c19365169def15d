"""One QEMU process seen from outside: accelerator, command line, launch, QMP, waiting, death.

Names are looked up on first use: a guest is restored in the time that all of this takes to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .accelerator import Accelerator as Accelerator
    from .accelerator import choose_accelerator as choose_accelerator
    from .argv import RamFile as RamFile
    from .argv import kernel_command_line as kernel_command_line
    from .argv import qemu_argv as qemu_argv
    from .deadline import Clock as Clock
    from .deadline import Deadline as Deadline
    from .disks import DiskFile as DiskFile
    from .gdb_stub import Gdb as Gdb
    from .gdb_stub import GdbFailed as GdbFailed
    from .kernel_identity import VmlinuxMismatch as VmlinuxMismatch
    from .kernel_identity import build_id_of as build_id_of
    from .kernel_identity import check_vmlinux as check_vmlinux
    from .kernel_memory import KernelNotFound as KernelNotFound
    from .kernel_memory import MappedPage as MappedPage
    from .kernel_memory import is_contiguous as is_contiguous
    from .machine import Machine as Machine
    from .machine import find_qemu as find_qemu
    from .memory import GuestMemory as GuestMemory
    from .migration import StateNotSaved as StateNotSaved
    from .migration import StateRefused as StateRefused
    from .page_tables import Page as Page
    from .page_tables import PageTables as PageTables
    from .page_tables import UnmappedAddress as UnmappedAddress
    from .physical_memory import MemoryClosed as MemoryClosed
    from .physical_memory import NotInRam as NotInRam
    from .registers import Registers as Registers
    from .registers import RegistersUnreadable as RegistersUnreadable
    from .watch import Watch as Watch

_NAMES_BY_FILE = {
    "accelerator": ("Accelerator", "choose_accelerator"),
    "argv": ("RamFile", "kernel_command_line", "qemu_argv"),
    "deadline": ("Clock", "Deadline"),
    "disks": ("DiskFile",),
    "gdb_stub": ("Gdb", "GdbFailed"),
    "kernel_identity": ("VmlinuxMismatch", "build_id_of", "check_vmlinux"),
    "kernel_memory": ("KernelNotFound", "MappedPage", "is_contiguous"),
    "machine": ("Machine", "find_qemu"),
    "memory": ("GuestMemory",),
    "migration": ("StateNotSaved", "StateRefused"),
    "page_tables": ("Page", "PageTables", "UnmappedAddress"),
    "physical_memory": ("MemoryClosed", "NotInRam"),
    "registers": ("Registers", "RegistersUnreadable"),
    "watch": ("Watch",),
}
_FILE_OF = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}


def __getattr__(name: str) -> object:
    """Returns a public name from its file (PEP 562)."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
