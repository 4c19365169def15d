"""What one run of the experiments measured: plain data, for the claims to judge and the page to draw.

Where a side could not be looked at (no gdb, no tracing) the field is None or empty, and `missing` says why.
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

if TYPE_CHECKING:
    from kmod_harness.kmod.elf.module import KernelModule
    from kmod_harness.kmod.link.relocation import BoundRelocation

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
    """The machine the experiments ran on.

    command_line: the kernel's, as /proc/cmdline shows it. randomize_base: how the kernel was
    configured, None when unknown. has_vmlinux: with debug information.
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
    """A section in memory. block: `core` or `init`; permissions: `r-x`, "" once it was freed."""

    name: str
    address: int
    size: int
    block: str
    permissions: str


@dataclass(frozen=True)
class ModulePage:
    """One page of the module's core: where it is, what may be done there and by its direct-map alias."""

    virtual: int
    physical: int
    permissions: str
    alias: int
    alias_permissions: str
    sections: tuple[str, ...]


@dataclass(frozen=True)
class AddressSpace:
    """The ranges that matter, lowest first, and what lies in them on this boot.

    slide: KASLR's, of the kernel image, from the page tables. kernel_window: where the image can be
    with KASLR; module_range: MODULES_VADDR..MODULES_END. modules: every module's core (from 6.4 on its
    text), the examined one included, by name. kernel_physical: where the image's first page is.
    lowest_in_module_range: the first page mapped there, whoever owns it.
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
class Loading:
    """finit_module, from entry to return.

    init_address: where the init function was predicted, from the .ko and the block's address.
    init_stop: the CPU there, None without vmlinux; resolve_stop: in the kernel's look-up of a symbol.
    executed: the module's own code that ran during a load. tasks: pid -> comm, of those the kernel started.
    timeline: of another load of the same file, traced. maps_naming_it: lines of any /proc/PID/maps within
    the module. init_block: where it was; init_mapped_during, init_mapped_after: pages of it that were mapped.
    """

    caller_pid: int
    caller_comm: str
    log: str
    init_function: str
    init_address: int
    init_stop: Stop | None
    resolve_stop: Stop | None
    init_block: Region | None
    init_mapped_during: int
    init_mapped_after: int
    tasks_before: Mapping[int, str]
    tasks_after: Mapping[int, str]
    maps_naming_it: tuple[str, ...]
    executed: ExecutedCode
    timeline: tuple[Step, ...]
    timeline_raw: str


@dataclass(frozen=True)
class Opening:
    """The module left alone, then its device opened.

    device: path, "" for a module without one. quiet, opened: executed code, seen from outside; traced_quiet,
    traced_open: functions of the module that ftrace saw, inside. stop: the CPU in the module's open.
    user_stack: the opener's stack as its /proc/PID/maps shows it; probe: what a kprobe on `function`
    (the module's first one of an open) logged, with the stack pointer it read, 0 without kprobes.
    """

    device: str
    quiet: ExecutedCode
    opened: ExecutedCode | None
    traced_quiet: tuple[str, ...]
    traced_open: tuple[str, ...]
    traced_raw: str
    opener_pid: int
    stop: Stop | None
    log: str
    function: str = ""
    user_stack: str = ""
    probe: str = ""
    probed_stack_pointer: int = 0


@dataclass(frozen=True)
class Privilege:
    """Loading as uid 1000 with CAP_SYS_MODULE, as root without it, and as root of a new user namespace.

    The statuses are lines of /proc/PID/status of the process that tried. user_executed, root_executed:
    the module's code that ran meanwhile, from outside.
    """

    user_with: Attempt
    user_with_status: str
    user_executed: ExecutedCode
    root_without: Attempt
    root_without_status: str
    root_executed: ExecutedCode
    namespace_root: Attempt
    namespace_root_status: str


@dataclass(frozen=True)
class Linking:
    """How names were bound: from outside by an independent linker, from inside by what the kernel refuses.

    elf_header: (e_type, e_entry, program headers) of the file. executable_type: the same file as ET_EXEC.
    relocations: each with address, value, symbol, image. compared, differing: relocations whose bytes
    were read from memory from outside, and those that differ from the linker's and that no
    later step of the kernel explains. got_or_plt: sections of that kind that take memory.
    system_map_files: System.map files the guest has. unexported: a symbol of the kernel that
    System.map lists and it does not export, with its line there, and what came of wanting it.
    exports: symbols the module exports, by the file.
    dependent_*: a module that wants one of them, loaded without it, then with it, and what it was
    bound to; private_attempt: it, wanting a function that is not exported. None and () without such a module.
    """

    elf_header: tuple[int, int, int]
    executable_type: Attempt
    relocations: tuple[BoundRelocation, ...]
    compared: int
    differing: tuple[BoundRelocation, ...]
    got_or_plt: tuple[str, ...]
    system_map_files: tuple[str, ...]
    unexported: str
    unexported_line: str
    unexported_attempt: Attempt
    exports: tuple[str, ...]
    dependent: str
    dependent_without: Attempt | None
    dependent_with: Attempt | None
    dependent_bound: tuple[BoundRelocation, ...]
    private_attempt: Attempt | None = None


@dataclass(frozen=True)
class Sharing:
    """The module's pages as several processes have them, and under memory pressure.

    user_read: what became of a process that read the module's address in user mode. pressure: MiB that a
    process took meanwhile. page_flags: of each physical page as /proc/kpageflags names them (LRU, ANON, ...);
    control_flags: of a page of an ordinary process. swaps: /proc/swaps, "" where there is none.
    """

    views: tuple[PageTableView, ...]
    user_read: str
    pressure: int
    pages_after: tuple[tuple[int, int | None], ...]
    page_flags: Mapping[int, tuple[str, ...]]
    control_flags: tuple[str, ...]
    swaps: str
    seen_by_second: str = ""


@dataclass(frozen=True)
class Unloading:
    """rmmod: tried with the device open (None without a device), then done.

    executed: the module's code that ran during it. mapped_after: (virtual, physical) of the module's
    pages still mapped. still_named: lines of /proc/modules and /proc/kallsyms that still name it.
    """

    while_open: Attempt | None
    done: Attempt
    caller_pid: int
    log: str
    executed: ExecutedCode
    mapped_after: tuple[tuple[int, int], ...]
    still_named: tuple[str, ...]


@dataclass(frozen=True)
class ShownByGuest:
    """What the guest itself says, the module loaded: sysfs's sections (init's dangle), kallsyms' `_text`.

    exports: lines of /proc/kallsyms that tell what the module exports. vmallocinfo: the lines of
    /proc/vmallocinfo that loads of modules made, "" when it cannot be read.
    """

    sections: Mapping[str, int]
    kernel_text: int
    exports: tuple[str, ...]
    vmallocinfo: str


@dataclass(frozen=True)
class Observations:
    """All of it, of one boot.

    blocks: `core` and `init` (6.1), or one for each memory type (6.4 and up), whole pages; init's as they
    were during init. vmallocinfo: the lines of /proc/vmallocinfo in the module range, "" when it
    cannot be read. missing: what could not be looked at, and why. code: `.text` at each moment of the load.
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
