"""The life of the module that the page shows: loaded and opened under the debugger, looked at, removed."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from kmod_harness.explain.observe import placement, sharing
from kmod_harness.explain.observe.experiment import Bench
from kmod_harness.explain.observe.running_kernel import symbols_of
from kmod_harness.explain.observe.untraced_load import PlainLife, places_of
from kmod_harness.explain.observed.function_names import FunctionNames, named
from kmod_harness.explain.observed.observations import Region, Sharing, Unloading
from kmod_harness.explain.probes import attempts
from kmod_harness.explain.probes.stops import Plan, WatchedKernel, WatchedLife, watch_life
from kmod_harness.guest.process import Process
from kmod_harness.machine.gdb.stub import Gdb
from kmod_harness.verify.outside.memory_types import MEMORY_CHANGED_SINCE

#: Seconds the init block may take to be freed: that goes by RCU and a work queue, which tell nobody.
_FREEING_SECONDS = 5.0


@dataclass(frozen=True)
class Load:
    """The module loaded, for good or until `unload`.

    watched: None where the debugger could not; `unwatched` says why. init_mapped_after: pages of the init
    block, once it was freed. loader, openers: the processes that loaded it and have it open.
    """

    bases: Mapping[str, int]
    blocks: tuple[Region, ...]
    names: FunctionNames
    watched: WatchedLife | None
    unwatched: str
    init_mapped_after: int
    loader: Process
    openers: tuple[Process, ...]
    log: str
    tasks_before: Mapping[int, str]
    tasks_after: Mapping[int, str]


def load(bench: Bench, plain: PlainLife) -> Load:
    """Loads the module, under the debugger where there is one. Raises ModuleLoadError."""
    guest = bench.guest
    loader, openers = guest.process(), (guest.process(), guest.process())
    before = sharing.kernels_tasks(guest)
    mark = guest.kernel_log.mark()
    unwatched = _why_unwatched(bench)
    watched = None if unwatched else _watch(bench, plain, loader, openers)
    if watched is None:
        attempt = attempts.finit(
            guest, "insmod", bench.file.data, parameters=bench.subject.parameters, process=loader
        )
        attempts.require_loaded(attempt, bench.file.name)
    guest.kernel_log.sync(guest.syscaller)
    log = guest.kernel_log.text_since(mark)
    places = places_of(guest, bench.file, bench.layout)
    bases = watched.bases if watched is not None else places.bases
    blocks = placement.blocks_of(bench.layout, bases)
    return Load(
        bases,
        blocks,
        places.names,
        watched,
        unwatched,
        _await_freeing(bench, blocks),
        loader,
        openers,
        log,
        before,
        sharing.kernels_tasks(guest),
    )


def _why_unwatched(bench: Bench) -> str:
    lacking = {"do_init_module", "chrdev_open"} - bench.ground.symbols.addresses.keys()
    if lacking:
        return f"this kernel's symbols do not tell where {' and '.join(sorted(lacking))} are"
    if not bench.ground.has_debug_info and bench.layout.release >= MEMORY_CHANGED_SINCE:
        return "where this kernel puts a module's blocks only its vmlinux tells, which it comes without"
    return "" if shutil.which("gdb") else "gdb is not installed"


def _watch(bench: Bench, plain: PlainLife, loader: Process, openers: tuple[Process, ...]) -> WatchedLife:
    ground = bench.ground
    image, symbols = ground.image, ground.symbols.addresses
    kernel = WatchedKernel(
        symbols=symbols,
        image=range(image.start, image.end),
        text=range(image.start, symbols.get("_etext", image.end)),
        source=ground.source,
        current_offset=ground.current_offset,
        stack_size=ground.stack_size,
        has_debug_info=ground.has_debug_info,
    )
    plan = Plan(
        bench.file,
        bench.layout,
        bench.file.data,
        bench.subject.parameters,
        loader,
        plain.device,
        plain.open_function,
        openers,
    )
    vmlinux = ground.kernel.vmlinux if ground.has_debug_info else None
    gdb = Gdb(bench.guest.machine, vmlinux, ground.slide)
    return watch_life(bench.guest, gdb, kernel, plan)


def _await_freeing(bench: Bench, blocks: tuple[Region, ...]) -> int:
    """Returns the pages of the init block that are mapped once it was freed, or after some seconds."""
    init = tuple(block for block in blocks if placement.is_init(block.name))
    machine = bench.guest.machine
    deadline = machine.deadline("the init block's freeing", _FREEING_SECONDS)
    while (mapped := len(placement.mapped_pages(bench.guest, init))) and not deadline.passed:
        machine.settle(0.02)
    return mapped


def share(bench: Bench, loaded: Load, plain: PlainLife, physical: Mapping[int, int]) -> Sharing:
    """Looks at the pages from several processes and under memory pressure. physical: by virtual address."""
    guest = bench.guest
    core = tuple(block for block in loaded.blocks if not placement.is_init(block.name))
    flags = sharing.page_flags(guest, tuple(physical.values()))
    control = sharing.flags_of_a_programs_page(guest)
    with guest.process() as reader:
        user_read = sharing.read_in_user_mode(reader, min(physical))
    pressure = sharing.press(guest)
    after = dict(placement.mapped_pages(guest, core))
    return Sharing(
        views=loaded.watched.views if loaded.watched is not None else (),
        user_read=user_read,
        pressure=pressure,
        pages_after=tuple((virtual, after.get(virtual)) for virtual in physical),
        page_flags=flags,
        control_flags=control,
        swaps=guest.read_text("/proc/swaps") if guest.exists("/proc/swaps") else "",
        seen_by_second=sharing.second_opener(guest, plain.device),
    )


def unload(bench: Bench, loaded: Load, plain: PlainLife) -> Unloading:
    """Removes the module, after a try while its device is open; returns what came of both and what stays."""
    guest, name = bench.guest, bench.file.name
    for opener in loaded.openers:
        opener.kill()
    while_open = None
    if plain.device:
        with guest.open(plain.device):
            while_open = attempts.delete(guest, "rmmod while its device is open", name)
    core = tuple(block for block in loaded.blocks if not placement.is_init(block.name))
    mark = guest.kernel_log.mark()
    with guest.process() as caller:
        with bench.log.recording("rmmod") as executed:
            done = attempts.delete(guest, "rmmod", name, process=caller)
        pid = caller.pid
    mapped = placement.mapped_pages(guest, core)
    return Unloading(
        while_open,
        done,
        pid,
        guest.kernel_log.text_since(mark),
        named(executed[0], core, loaded.names),
        mapped,
        _remains(bench),
    )


def _remains(bench: Bench) -> tuple[str, ...]:
    name = bench.file.name
    modules = bench.guest.read_text("/proc/modules").splitlines()
    symbols = symbols_of(bench.guest, name)
    return (
        *(line for line in modules if line.split(" ")[0] == name),
        *(f"{entry.address:016x} {entry.type} {entry.name} [{entry.module}]" for entry in symbols),
    )
