"""The data of a load under gdb: what is loaded and opened, and what was read at each stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kmod_harness.explain.observed.code_history import Moment
from kmod_harness.explain.observed.observations import PageTableView, Stop
from kmod_harness.guest.process import Process
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.layout.predict import Layout


@dataclass(frozen=True)
class StoppedKernel:
    """The facts about a kernel that reading a stop needs.

    symbols: name -> address
    image: range of the image
    text: range of its code
    source: path that is cut off file names
    current_offset: offset of `current` from GS's base, None when unknown
    stack_size: THREAD_SIZE
    has_debug_info: whether gdb was given vmlinux
    """

    symbols: Mapping[str, int]
    image: range
    text: range
    source: str
    current_offset: int | None
    stack_size: int
    has_debug_info: bool


@dataclass(frozen=True)
class ModuleMemory:
    """The module's blocks in memory at one moment of the load.

    moment: the moment
    function: function at whose first instruction the CPU was stopped
    bases: block -> address
    blocks: block -> its bytes
    permissions: block -> permissions of its first page
    """

    moment: Moment
    function: str
    bases: Mapping[str, int]
    blocks: Mapping[str, bytes] = field(repr=False)
    permissions: Mapping[str, str]


@dataclass(frozen=True)
class LoadStops:
    """The stops of one load, and of opens afterwards, under gdb.

    bases: block -> address, by `struct module`
    resolve: CPU in the kernel's look-up of a symbol, None on a kernel without find_symbol
    init_address: address of the init function, predicted from the bases, 0 without one
    init: CPU at init's first instruction, None without one
    init_mapped: pages of the init block mapped while init ran
    opens: CPU in the module's open, for each opener; () for a module without an open function
    views: the module's first page in each process's page tables
    memory: the module's blocks on the way to init, in order
    """

    bases: Mapping[str, int]
    resolve: Stop | None
    init_address: int
    init: Stop | None
    init_mapped: int
    opens: tuple[Stop, ...]
    views: tuple[PageTableView, ...]
    memory: tuple[ModuleMemory, ...]


@dataclass(frozen=True)
class LoadPlan:
    """A load and opens to do under gdb.

    file: the module
    layout: its layout
    data: bytes to load
    parameters: parameters as insmod takes them
    loader: process that loads it
    device: device that each opener opens
    open_function: first function of the module that an open calls; "" for none: the openers are then stopped
        in an open of another device
    openers: processes that open the device
    """

    file: KernelModule
    layout: Layout
    data: bytes
    parameters: str
    loader: Process
    device: str
    open_function: str
    openers: tuple[Process, ...]
