"""The load that the page shows: loaded and opened under gdb, inspected, unloaded."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

from kmod_harness.explain.observe import placement, sharing
from kmod_harness.explain.observe.experiment import Experiment
from kmod_harness.explain.observe.logged_load import LoggedLoad, places_of
from kmod_harness.explain.observe.running_kernel import symbols_of
from kmod_harness.explain.observed.function_names import FunctionNames, named
from kmod_harness.explain.observed.observations import Region, Sharing, Unloading
from kmod_harness.explain.probes import attempts
from kmod_harness.explain.probes.load_stops import LoadPlan, LoadStops, StoppedKernel
from kmod_harness.explain.probes.stops import stop_in_load
from kmod_harness.guest.process import Process
from kmod_harness.machine.gdb.gdb_process import Gdb

#: Seconds until the init block is freed at the latest: by RCU and a work queue, without notice.
_FREEING_SECONDS = 5.0


@dataclass(frozen=True)
class DebuggedLoad:
    """The loaded module, until `observe_unloading`.

    bases: block -> address
    blocks: the blocks
    names: names of its functions
    stops: what gdb saw, None where it could not stop the guest
    no_stops_reason: why gdb could not, "" where it could
    init_mapped_after: pages of the init block that are mapped after it was freed
    loader: process that loaded the module
    openers: processes that have its device open
    log: kernel log of the load
    tasks_before: pid -> comm of the kernel's tasks before the load
    tasks_after: pid -> comm of the kernel's tasks after it
    """

    bases: Mapping[str, int]
    blocks: tuple[Region, ...]
    names: FunctionNames
    stops: LoadStops | None
    no_stops_reason: str
    init_mapped_after: int
    loader: Process
    openers: tuple[Process, ...]
    log: str
    tasks_before: Mapping[int, str]
    tasks_after: Mapping[int, str]


def observe_debugged_load(experiment: Experiment, logged: LoggedLoad) -> DebuggedLoad:
    """Loads the module, under gdb where it is installed. Raises ModuleLoadError."""
    guest = experiment.guest
    loader, openers = guest.process(), (guest.process(), guest.process())
    before = sharing.kernel_tasks(guest)
    mark = guest.kernel_log.mark()
    no_stops_reason = _why_no_stops(experiment)
    stops = None if no_stops_reason else _record_stops(experiment, logged, loader, openers)
    if stops is None:
        attempt = attempts.finit_module(
            guest, "insmod", experiment.file.data, parameters=experiment.subject.parameters, process=loader
        )
        attempts.require_loaded(attempt, experiment.file.name)
    guest.kernel_log.sync(guest.syscaller)
    log = guest.kernel_log.text_since(mark)
    places = places_of(guest, experiment.file, experiment.layout)
    bases = stops.bases if stops is not None else places.bases
    blocks = placement.blocks_of(experiment.layout, bases)
    return DebuggedLoad(
        bases,
        blocks,
        places.names,
        stops,
        no_stops_reason,
        _await_freeing(experiment, blocks),
        loader,
        openers,
        log,
        before,
        sharing.kernel_tasks(guest),
    )


def _why_no_stops(experiment: Experiment) -> str:
    lacking = {"do_init_module", "chrdev_open"} - experiment.running.symbols.addresses.keys()
    if lacking:
        return f"this kernel's symbols do not tell where {' and '.join(sorted(lacking))} are"
    return "" if shutil.which("gdb") else "gdb is not installed"


def _record_stops(
    experiment: Experiment, logged: LoggedLoad, loader: Process, openers: tuple[Process, ...]
) -> LoadStops:
    running = experiment.running
    image, symbols = running.image, running.symbols.addresses
    kernel = StoppedKernel(
        symbols=symbols,
        image=range(image.start, image.end),
        text=range(image.start, symbols.get("_etext", image.end)),
        source=running.source,
        current_offset=running.current_offset,
        stack_size=running.stack_size,
        has_debug_info=running.has_debug_info,
    )
    plan = LoadPlan(
        experiment.file,
        experiment.layout,
        experiment.file.data,
        experiment.subject.parameters,
        loader,
        logged.device,
        logged.open_function,
        openers,
    )
    vmlinux = running.kernel.vmlinux if running.has_debug_info else None
    gdb = Gdb(experiment.guest.machine, vmlinux, running.slide)
    return stop_in_load(experiment.guest, gdb, kernel, plan)


def _await_freeing(experiment: Experiment, blocks: tuple[Region, ...]) -> int:
    """Returns how many pages of the init block are still mapped once it was freed, or after some seconds."""
    init = tuple(block for block in blocks if placement.is_init(block.name))
    machine = experiment.guest.machine
    deadline = machine.deadline("the init block's freeing", _FREEING_SECONDS)
    while (mapped := len(placement.mapped_pages(experiment.guest, init))) and not deadline.passed:
        machine.settle(0.02)
    return mapped


def observe_sharing(
    experiment: Experiment, load: DebuggedLoad, logged: LoggedLoad, physical: Mapping[int, int]
) -> Sharing:
    """Observes the module's pages from several processes and under memory pressure.

    `physical` is virtual address -> physical address of its pages.
    """
    guest = experiment.guest
    core = tuple(block for block in load.blocks if not placement.is_init(block.name))
    flags = sharing.page_flags(guest, tuple(physical.values()))
    control = sharing.program_page_flags(guest)
    with guest.process() as reader:
        user_read = sharing.read_in_user_mode(reader, min(physical))
    pressure = sharing.apply_memory_pressure(guest)
    after = dict(placement.mapped_pages(guest, core))
    return Sharing(
        views=load.stops.views if load.stops is not None else (),
        user_read=user_read,
        pressure=pressure,
        pages_after=tuple((virtual, after.get(virtual)) for virtual in physical),
        page_flags=flags,
        control_flags=control,
        swaps=guest.read_text("/proc/swaps") if guest.exists("/proc/swaps") else "",
        seen_by_second=sharing.exchange_by_device(guest, logged.device),
    )


def observe_unloading(experiment: Experiment, load: DebuggedLoad, logged: LoggedLoad) -> Unloading:
    """Unloads the module, after an attempt while its device is open."""
    guest, name = experiment.guest, experiment.file.name
    for opener in load.openers:
        opener.kill()
    while_open = None
    if logged.device:
        with guest.open(logged.device):
            while_open = attempts.delete_module(guest, "rmmod while its device is open", name)
    core = tuple(block for block in load.blocks if not placement.is_init(block.name))
    mark = guest.kernel_log.mark()
    with guest.process() as caller:
        with experiment.log.recording("rmmod") as executed:
            done = attempts.delete_module(guest, "rmmod", name, process=caller)
        pid = caller.pid
    mapped = placement.mapped_pages(guest, core)
    return Unloading(
        while_open,
        done,
        pid,
        guest.kernel_log.text_since(mark),
        named(executed[0], core, load.names),
        mapped,
        _still_named(experiment),
    )


def _still_named(experiment: Experiment) -> tuple[str, ...]:
    name = experiment.file.name
    modules = experiment.guest.read_text("/proc/modules").splitlines()
    symbols = symbols_of(experiment.guest, name)
    return (
        *(line for line in modules if line.split(" ")[0] == name),
        *(f"{entry.address:016x} {entry.type} {entry.name} [{entry.module}]" for entry in symbols),
    )
