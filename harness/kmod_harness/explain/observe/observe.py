"""One run of all experiments on a booted guest, from the first refusal to the last rmmod."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.explain.observe import admission, crafted_modules, placement, refusals, sharing
from kmod_harness.explain.observe.code_reading import code_history
from kmod_harness.explain.observe.debugged_load import (
    DebuggedLoad,
    observe_debugged_load,
    observe_sharing,
    observe_unloading,
)
from kmod_harness.explain.observe.experiment import Experiment, Subject, layout_of, set_up_experiment
from kmod_harness.explain.observe.logged_load import LoggedLoad, observe_logged_load
from kmod_harness.explain.observe.running_kernel import address_space
from kmod_harness.explain.observed.function_names import named
from kmod_harness.explain.observed.observations import (
    Attempt,
    Linking,
    Loading,
    MachineInfo,
    Observations,
    Opening,
    ShownByGuest,
    Step,
)
from kmod_harness.explain.probes import attempts, tracing
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.loaded_module import LoadedModule
from kmod_harness.kmod.link.relocation import BoundRelocation
from kmod_harness.kmod.symbols.symbol_files import Kallsyms
from kmod_harness.verify.report import ModuleReport
from kmod_harness.verify.verify_modules import verify_modules

#: Seconds for which the module is left alone: enough for a thread or timer that runs twice a second.
QUIET_SECONDS = 1.2
#: Callers of vmalloc when a module is loaded: the loader, a part of it, or the allocator of code.
_ALLOCATED_BY = re.compile(r" (?:load_module\+|move_module\+|module_\w*alloc|execmem_)")


def observe(guest: Guest, kernel: Kernel, log: Path, subject: Subject) -> Observations:
    """Returns everything that the claims are judged by; takes about 10 s under software emulation.

    guest: booted cold under software emulation (a restored guest has its template's slide), with
        `execution_log_arguments(log, ...)` on QEMU's command line; the module is not loaded before or
        afterwards
    kernel: its kernel
    log: file of the execution log
    subject: the module to be examined

    Raises NoExecutionLog, ModuleLoadError, AddressesHidden, KernelSymbolsHidden, UnsupportedRelease, and what
    ends the machine.
    """
    experiment = set_up_experiment(guest, kernel, log, subject)
    taint_before = admission.taint(guest, experiment.running)
    logged = observe_logged_load(
        guest, experiment.log, experiment.file, experiment.layout, experiment.file.data, subject.parameters
    )
    attempts.require_loaded(logged.privilege.user_with, experiment.file.name)
    # before the files that are wrong on purpose: they taint the kernel too
    taint_loaded = admission.taint(guest, experiment.running)
    refused = refusals.try_refused_loads(guest, experiment.running, experiment.file, subject.dependent)
    load = observe_debugged_load(experiment, logged)
    space = address_space(guest, experiment.running)
    shown = _shown(experiment)
    letters = admission.module_taint(guest, experiment.file.name)
    table = placement.symbol_table(guest, experiment.file, experiment.layout, load.bases)
    pages = placement.with_symbol_table(placement.module_pages(guest, experiment.layout, load.bases), table)
    sections = placement.module_sections(experiment.layout, load.bases, pages)
    virtual = [page.virtual for page in pages]
    maps = sharing.maps_within(guest, min(virtual), max(virtual) + 4096)
    report = verify_modules(guest, experiment.running.kernel, [experiment.file], subject.providers).modules[0]
    linking = _linking(experiment, load, refused, report)
    memory = load.stops.memory if load.stops is not None else ()
    opening = _opening(experiment, load, logged)
    shared = observe_sharing(experiment, load, logged, {page.virtual: page.physical for page in pages})
    unloading = observe_unloading(experiment, load, logged)
    timeline, timeline_raw = _timeline(experiment)
    return Observations(
        machine=_machine(experiment),
        module=experiment.file,
        space=space,
        blocks=load.blocks,
        sections=(*sections, *((table,) if table is not None else ())),
        pages=pages,
        loading=_loading(load, logged, maps, timeline, timeline_raw),
        opening=opening,
        privilege=logged.privilege,
        linking=linking,
        sharing=shared,
        unloading=unloading,
        shown=shown,
        missing=_missing(load, timeline),
        admission=admission.observe_admission(
            guest, experiment.running, refused.other_release, (taint_before, taint_loaded), letters
        ),
        code=code_history(experiment.layout, memory, linking.relocations, report),
    )


def _machine(experiment: Experiment) -> MachineInfo:
    guest, running = experiment.guest, experiment.running
    return MachineInfo(
        release=running.kernel.release,
        command_line=guest.read_text("/proc/cmdline").strip(),
        randomize_base=running.randomize_base,
        cpus=guest.spec.cpus,
        accelerator=guest.machine.accelerator.name,
        has_vmlinux=running.has_debug_info,
    )


def _missing(load: DebuggedLoad, timeline: tuple[Step, ...]) -> tuple[str, ...]:
    found = [f"no stacks from outside: {load.no_stops_reason}"] if load.no_stops_reason else []
    return (*found, *(() if timeline else ("no timeline: this kernel has no function graph tracer",)))


def _loading(
    load: DebuggedLoad, logged: LoggedLoad, maps: tuple[str, ...], timeline: tuple[Step, ...], raw: str
) -> Loading:
    stops = load.stops
    init = next((block for block in load.blocks if placement.is_init(block.name)), None)
    return Loading(
        caller_pid=load.loader.pid,
        caller_comm=stops.init.task_comm if stops is not None and stops.init is not None else "",
        log=load.log,
        init_function=stops.init.function if stops is not None and stops.init is not None else "",
        init_address=stops.init_address if stops is not None else 0,
        init_stop=stops.init if stops is not None else None,
        resolve_stop=stops.resolve if stops is not None else None,
        init_block=init,
        init_mapped_during=stops.init_mapped if stops is not None else 0,
        init_mapped_after=load.init_mapped_after,
        tasks_before=load.tasks_before,
        tasks_after=load.tasks_after,
        maps_naming_it=maps,
        executed=logged.loaded,
        timeline=timeline,
        timeline_raw=raw,
    )


def _opening(experiment: Experiment, load: DebuggedLoad, logged: LoggedLoad) -> Opening:
    guest, name, device = experiment.guest, experiment.file.name, logged.device
    core = tuple(block for block in load.blocks if not placement.is_init(block.name))
    traces = tracing.can_trace(guest)
    quiet_trace, open_trace, probe = "", "", ""
    mark = guest.kernel_log.mark()
    with contextlib.ExitStack() as on:
        trace = on.enter_context(tracing.traced(guest, "function", (f"*:mod:{name}",))) if traces else [""]
        with experiment.log.recording("left alone") as quiet:
            guest.machine.settle(QUIET_SECONDS)
    quiet_trace = trace[0]
    opened = None
    opener = guest.process()
    if device:
        with experiment.log.recording(f"open and close {device}") as executed:
            opener.open(device).close()
        opened = named(executed[0], core, load.names)
        if traces:
            with tracing.traced(guest, "function", (f"*:mod:{name}",)) as trace:
                opener.open(device).close()
            open_trace = trace[0]
        if logged.open_function:
            with (
                contextlib.suppress(OSError),
                tracing.probed_stack(guest, name, logged.open_function) as probed,
            ):
                opener.open(device).close()
            probe = probed[0] if probed else ""
    guest.kernel_log.sync(guest.syscaller)
    stops = load.stops.opens if load.stops is not None else ()
    stack = sharing.stack_line(guest, opener)
    opener.kill()
    return Opening(
        device=device,
        quiet=named(quiet[0], core, load.names),
        opened=opened,
        traced_quiet=tracing.traced_functions(quiet_trace),
        traced_open=tracing.traced_functions(open_trace),
        traced_raw=_both(quiet_trace, open_trace),
        opener_pid=opener.pid,
        stop=stops[0] if stops else None,
        log=guest.kernel_log.text_since(mark),
        function=logged.open_function,
        user_stack=stack,
        probe=probe,
        probed_stack_pointer=tracing.parse_stack_pointer(probe),
    )


def _both(quiet: str, opened: str) -> str:
    if not quiet:
        return ""
    parts = (("left alone", quiet), ("opened and closed", opened))
    return "\n\n".join(f"{what}:\n{tracing.entries(trace) or '(nothing)'}" for what, trace in parts)


def _linking(
    experiment: Experiment, load: DebuggedLoad, refused: refusals.Refusals, report: ModuleReport
) -> Linking:
    guest, file = experiment.guest, experiment.file
    bound = placement.relocations(
        experiment.running,
        file,
        experiment.layout,
        load.bases,
        placement.exports_of(guest, experiment.subject.providers),
    )
    kept = {section.name for section in report.sections}
    compared = [one for one in bound if one.what.section.name in kept]
    strange = [run for section in report.sections for run in section.unexplained]
    differing = [
        one
        for one in compared
        if any(run.address < one.where + one.size and one.where < run.address + run.size for run in strange)
    ]
    dependent = experiment.subject.dependent
    with_it, dependent_bound, private = _dependent(experiment)
    return Linking(
        elf_header=crafted_modules.elf_header(file.data),
        executable_type=refused.executable,
        relocations=bound,
        compared=len(compared),
        differing=tuple(differing),
        got_or_plt=tuple(
            section.name
            for section in file.sections
            if section.allocated and section.size > 1 and section.name.startswith((".got", ".plt"))
        ),
        system_map_files=refusals.system_maps(guest),
        unexported=refused.unexported,
        unexported_line=refusals.system_map_line(experiment.running, refused.unexported),
        unexported_attempt=refused.wanting,
        exports=tuple(sorted(file.exports)),
        dependent=dependent.name if dependent is not None else "",
        dependent_without=refused.dependent,
        dependent_with=with_it,
        dependent_bound=dependent_bound,
        private_attempt=private,
    )


def _dependent(experiment: Experiment) -> tuple[Attempt | None, tuple[BoundRelocation, ...], Attempt | None]:
    """Loads the dependent module on top, links it, unloads it, and tries it with a private symbol."""
    other, file = experiment.subject.dependent, experiment.file
    if other is None:
        return None, (), None
    guest = experiment.guest
    attempt = attempts.finit_module(guest, f"{other.name} with {file.name} loaded", other.data)
    if not attempt.worked:
        return attempt, (), None
    bound = placement.relocations_of_loaded(
        guest, experiment.running, other, layout_of(experiment.running, other), file
    )
    attempts.delete_module(guest, "rmmod", other.name)
    wanted = next(symbol.name for symbol in other.undefined if symbol.name in file.exports)
    private = next(
        symbol.name for symbol in file.symbols if symbol.kind == "FUNC" and symbol.name not in file.exports
    )
    changed = crafted_modules.with_undefined_symbol_renamed(other.data, wanted, private)
    refused = attempts.finit_module(guest, f"{other.name} with {private} in the place of {wanted}", changed)
    return attempt, bound, refused


def _shown(experiment: Experiment) -> ShownByGuest:
    guest = experiment.guest
    vmalloc = ""
    with contextlib.suppress(OSError):
        lines = guest.read_text("/proc/vmallocinfo").splitlines()
        # vmalloc notes the caller of module_alloc (arch/x86/kernel/module.c:80, 6.1), later module_alloc
        vmalloc = "\n".join(line for line in lines if _ALLOCATED_BY.search(line))
    kallsyms = guest.kallsyms() if guest.exists("/proc/kallsyms") else Kallsyms(())
    exports = (
        entry for entry in kallsyms.of_module(experiment.file.name) if entry.name.startswith("__ksymtab_")
    )
    return ShownByGuest(
        LoadedModule(guest, experiment.file).sections,
        kallsyms.kernel_address_of.get("_text", 0),
        tuple(f"{entry.address:016x} {entry.type} {entry.name} [{entry.module}]" for entry in exports),
        vmalloc,
    )


def _timeline(experiment: Experiment) -> tuple[tuple[Step, ...], str]:
    """Loads the module once more under ftrace, and unloads it."""
    guest = experiment.guest
    if not tracing.can_trace(guest):
        return (), ""
    with guest.process() as loader:
        with tracing.trace_load(guest, loader) as trace:
            attempt = attempts.finit_module(
                guest,
                "insmod, traced",
                experiment.file.data,
                parameters=experiment.subject.parameters,
                process=loader,
            )
        pid = loader.pid
    if attempt.worked:
        attempts.delete_module(guest, "rmmod", experiment.file.name)
    return tracing.parse_timeline(trace[0], pid), tracing.entries(trace[0])
