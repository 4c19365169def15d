"""The measurements of one run of all experiments: plain data, for the claims and the page.

A field that could not be observed (no gdb, no tracing) is None or empty, and `missing` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmod_harness.explain.observed.admission import NOT_ASKED, Admission
from kmod_harness.explain.observed.code_history import NO_HISTORY, CodeHistory
from kmod_harness.explain.observed.measures import (
    Attempt,
    ExecutedBlock,
    ExecutedCode,
    Frame,
    PageTableView,
    Region,
    Step,
    Stop,
)
from kmod_harness.explain.observed.results import Linking, Loading, Opening, Privilege, Sharing, Unloading

if TYPE_CHECKING:
    from kmod_harness.kmod.elf.module import KernelModule

__all__ = [
    "AddressSpace",
    "Attempt",
    "ExecutedBlock",
    "ExecutedCode",
    "Frame",
    "Linking",
    "Loading",
    "MachineInfo",
    "ModulePage",
    "ModuleSection",
    "Observations",
    "Opening",
    "PageTableView",
    "Privilege",
    "Region",
    "Sharing",
    "ShownByGuest",
    "Step",
    "Stop",
    "Unloading",
]


@dataclass(frozen=True)
class MachineInfo:
    """The machine on which the experiments ran.

    release: release of its kernel
    command_line: the kernel's, from /proc/cmdline
    randomize_base: whether RANDOMIZE_BASE is set, None when unknown
    cpus: number of CPUs
    accelerator: `kvm` or `tcg`
    has_vmlinux: whether there is a vmlinux with debug information
    """

    release: str
    command_line: str
    randomize_base: bool | None
    cpus: int
    accelerator: str
    has_vmlinux: bool

    @property
    def nokaslr(self) -> bool:
        return "nokaslr" in self.command_line.split()


#: The name of what no section of the file holds: the symbols that the kernel keeps for /proc/kallsyms.
SYMBOL_TABLE = "symbol table"


@dataclass(frozen=True)
class ModuleSection:
    """A section in memory.

    name: name of the section
    address: address of its first byte
    size: bytes
    block: `core` or `init`
    permissions: such as `r-x`, "" after it was freed
    """

    name: str
    address: int
    size: int
    block: str
    permissions: str


@dataclass(frozen=True)
class ModulePage:
    """One page of the module's core.

    virtual: virtual address
    physical: physical address
    permissions: permissions there
    alias: virtual address in the direct map, 0 where it is not mapped
    alias_permissions: permissions of the alias
    sections: sections that lie on the page
    """

    virtual: int
    physical: int
    permissions: str
    alias: int
    alias_permissions: str
    sections: tuple[str, ...]


@dataclass(frozen=True)
class AddressSpace:
    """The ranges of this boot, and what lies in them.

    slide: KASLR's slide of the kernel image in bytes, by the page tables
    user: user half
    direct_map: all physical memory
    vmalloc: vmalloc area
    vmemmap: array of struct page
    kernel_window: where KASLR may put the image
    kernel_image: where the image lies
    module_range: MODULES_VADDR..MODULES_END
    modules: the core (from 6.4 on the text) of each module, the examined one included
    kernel_physical: physical address of the image's first page
    lowest_in_module_range: address of the first page that is mapped there
    """

    slide: int
    user: Region
    direct_map: Region
    vmalloc: Region
    vmemmap: Region
    kernel_window: Region
    kernel_image: Region
    module_range: Region
    modules: tuple[Region, ...]
    kernel_physical: int = 0
    lowest_in_module_range: int = 0


@dataclass(frozen=True)
class ShownByGuest:
    """The guest's own view of the module while it is loaded.

    sections: section -> address in sysfs, also of init, which is freed
    kernel_text: address of `_text` in kallsyms, 0 where hidden
    exports: lines of /proc/kallsyms for the module's exports
    vmallocinfo: lines of /proc/vmallocinfo that loading modules made, "" when it cannot be read
    """

    sections: Mapping[str, int]
    kernel_text: int
    exports: tuple[str, ...]
    vmallocinfo: str


@dataclass(frozen=True)
class Observations:
    """All observations of one boot.

    machine: the machine
    module: the module
    space: ranges of the boot
    blocks: `core` and `init` (6.1), or one for each memory type (from 6.4 on), as whole pages; those of init
        as they were during init
    sections: its sections in memory
    pages: its pages in memory
    loading: result of the load
    opening: result of leaving it alone and opening its device
    privilege: result of loads as several kinds of process
    linking: result of linking
    sharing: result of reading it from several processes
    unloading: result of the unload
    admission: checks on admission and marks
    shown: the guest's own view
    missing: what could not be observed, and why
    code: `.text` at each moment of the load
    """

    machine: MachineInfo
    module: KernelModule
    space: AddressSpace
    blocks: tuple[Region, ...]
    sections: tuple[ModuleSection, ...]
    pages: tuple[ModulePage, ...]
    loading: Loading
    opening: Opening
    privilege: Privilege
    linking: Linking
    sharing: Sharing
    unloading: Unloading
    shown: ShownByGuest = ShownByGuest({}, 0, (), "")
    missing: tuple[str, ...] = ()
    code: CodeHistory = NO_HISTORY
    admission: Admission = NOT_ASKED
