"""The result of each experiment: loading, opening, privileges, linking, sharing, unloading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmod_harness.explain.observed.measures import Attempt, ExecutedCode, PageTableView, Region, Step, Stop

if TYPE_CHECKING:
    from kmod_harness.kmod.link.relocation import BoundRelocation


@dataclass(frozen=True)
class Loading:
    """finit_module, from entry to return.

    caller_pid: process that called it
    caller_comm: name of the task that ran init, "" when unknown
    log: kernel log of the load
    init_function: name of the init function, "" when unknown
    init_address: its address, predicted from the .ko and the block's address; 0 without
    init_stop: CPU at init's first instruction, None without vmlinux
    resolve_stop: CPU in the kernel's look-up of a symbol, None where it was not stopped
    init_block: where the init block was, None without one
    init_mapped_during: pages of it mapped while init ran
    init_mapped_after: pages of it mapped after it was freed
    tasks_before: pid -> comm of the kernel's tasks before the load
    tasks_after: pid -> comm of the kernel's tasks after it
    maps_naming_it: lines of any /proc/PID/maps that overlap the module
    executed: code of the module that ran during a load
    timeline: steps of another load of the same file, under ftrace
    timeline_raw: trace of that load
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

    device: path of the device, "" for a module without one
    quiet: code that ran while the module was left alone, seen from outside
    opened: code that ran when the device was opened, None without one
    traced_quiet: functions of the module that ftrace saw while it was left alone
    traced_open: functions of the module that ftrace saw when the device was opened
    traced_raw: both traces
    opener_pid: process that opened the device
    stop: CPU in the module's open, None where it was not stopped
    log: kernel log meanwhile
    function: first function of the module that an open calls, "" for none
    user_stack: line of the opener's /proc/PID/maps for its stack
    probe: log of a kprobe on `function`, "" without kprobes
    probed_stack_pointer: stack pointer that the kprobe read, 0 without kprobes
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
    """Loads as uid 1000 with CAP_SYS_MODULE, as root without it, and as root of a new user namespace.

    user_with: attempt of uid 1000 with the capability
    user_with_status: lines of its /proc/PID/status
    user_executed: code of the module that ran meanwhile, seen from outside
    root_without: attempt of root without the capability
    root_without_status: lines of its /proc/PID/status
    root_executed: code of the module that ran meanwhile, seen from outside
    namespace_root: attempt of root of a new user namespace
    namespace_root_status: lines of its /proc/PID/status
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
    """The binding of symbols: from outside by an independent linker, from inside by the kernel's refusals.

    elf_header: e_type, e_entry and the number of program headers of the file
    executable_type: attempt with the same file as ET_EXEC
    relocations: relocations as the linker binds them
    compared: relocations whose bytes were read from memory, from outside
    differing: of these, those that differ from the linker's and are not explained by a later step of the
        kernel
    got_or_plt: sections of that kind that take memory
    system_map_files: System.map files in the guest
    unexported: kernel symbol that is in System.map and not exported
    unexported_line: its line in System.map
    unexported_attempt: attempt with a module that needs it
    exports: symbols that the module exports, by its file
    dependent: name of a module that needs one of them, "" without such a module
    dependent_without: attempt to load it alone, None without such a module
    dependent_with: attempt to load it on top, None without such a module
    dependent_bound: its relocations, () without such a module
    private_attempt: attempt with it needing a function that is not exported, None without such a module
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
    """The module's pages as several processes see them, and under memory pressure.

    views: its first page in each process's page tables
    user_read: what happened to a process that read its address in user mode
    pressure: MiB that a process allocated meanwhile
    pages_after: virtual and physical address of each page afterwards, None where it is not mapped
    page_flags: physical address -> flags in /proc/kpageflags (LRU, ANON, ...)
    control_flags: flags of a page of an ordinary process
    swaps: /proc/swaps, "" where there is none
    seen_by_second: what a second process read from the device, "" where it takes no bytes
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
    """rmmod: attempted while the device was open, then done.

    while_open: attempt with the device open, None without a device
    done: the unload
    caller_pid: process that called delete_module
    log: kernel log of the unload
    executed: code of the module that ran during it
    mapped_after: virtual and physical address of the module's pages that are still mapped
    still_named: lines of /proc/modules and /proc/kallsyms that still name it
    """

    while_open: Attempt | None
    done: Attempt
    caller_pid: int
    log: str
    executed: ExecutedCode
    mapped_after: tuple[tuple[int, int], ...]
    still_named: tuple[str, ...]
