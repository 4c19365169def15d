"""One run of all experiments on a booted guest, from the first refusal to the last rmmod."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from kmod_harness.build.kernel.known import Kernel
from kmod_harness.explain.observe import crafted_modules, placement, refusals, sharing
from kmod_harness.explain.observe.experiment import Bench, Subject, layout_of, set_up
from kmod_harness.explain.observe.running_kernel import address_space
from kmod_harness.explain.observe.traced_load import Load, load, share, unload
from kmod_harness.explain.observe.untraced_load import PlainLife, plain_life
from kmod_harness.explain.observed.function_names import named
from kmod_harness.explain.observed.observations import (
    Attempt,
    Linking,
    Loading,
    Observations,
    Opening,
    Shown,
    Step,
    World,
)
from kmod_harness.explain.probes import attempts, tracing
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.module import LoadedModule
from kmod_harness.kmod.link.relocation import BoundRelocation
from kmod_harness.kmod.symbols.tables import Kallsyms
from kmod_harness.verify.inspection import verify_modules

#: Seconds for which the module is left alone: a thread or timer that ticks twice a second is seen.
QUIET_SECONDS = 1.2
#: Who asks vmalloc for modules, by the release: the loader, a part of it, or the allocator of code.
_ALLOCATED_BY = re.compile(r" (?:load_module\+|move_module\+|module_\w*alloc|execmem_)")


def observe(guest: Guest, kernel: Kernel, log: Path, subject: Subject) -> Observations:
    """Returns all that the claims are judged by; about 10 s under software emulation.

    guest: cold booted under software emulation (a restored one has a frozen slide) with
    `execution_log_arguments(log, ...)` on QEMU's command line; the module must not be loaded, and is not
    at the end. Raises NoExecutionLog, ModuleLoadError, AddressesHidden, KernelSymbolsHidden,
    UnsupportedRelease, and what ends the machine.
    """
    bench = set_up(guest, kernel, log, subject)
    refused = refusals.try_all(guest, bench.ground, bench.file, subject.dependent)
    plain = plain_life(guest, bench.log, bench.file, bench.layout, bench.file.data, subject.parameters)
    attempts.require_loaded(plain.privilege.user_with, bench.file.name)
    first = load(bench, plain)
    space = address_space(guest, bench.ground)
    shown = _shown(bench)
    pages = placement.module_pages(guest, bench.layout, first.bases)
    virtual = [page.virtual for page in pages]
    maps = sharing.maps_within(guest, min(virtual), max(virtual) + 4096)
    linking = _linking(bench, first, refused)
    opening = _opening(bench, first, plain)
    shared = share(bench, first, plain, {page.virtual: page.physical for page in pages})
    unloading = unload(bench, first, plain)
    timeline, timeline_raw = _timeline(bench)
    return Observations(
        world=_world(bench),
        module=bench.file,
        space=space,
        blocks=first.blocks,
        sections=placement.module_sections(bench.layout, first.bases, pages),
        pages=pages,
        loading=_loading(first, plain, maps, timeline, timeline_raw),
        opening=opening,
        privilege=plain.privilege,
        linking=linking,
        sharing=shared,
        unloading=unloading,
        shown=shown,
        missing=_missing(first, timeline),
    )


def _world(bench: Bench) -> World:
    guest, ground = bench.guest, bench.ground
    return World(
        release=ground.kernel.release,
        command_line=guest.read_text("/proc/cmdline").strip(),
        randomize_base=ground.randomize_base,
        cpus=guest.spec.cpus,
        accelerator=guest.machine.accelerator.name,
        has_vmlinux=ground.has_debug_info,
    )


def _missing(first: Load, timeline: tuple[Step, ...]) -> tuple[str, ...]:
    found = [f"no stacks from outside: {first.unwatched}"] if first.unwatched else []
    return (*found, *(() if timeline else ("no timeline: this kernel has no function graph tracer",)))


def _loading(
    first: Load, plain: PlainLife, maps: tuple[str, ...], timeline: tuple[Step, ...], raw: str
) -> Loading:
    watched = first.watched
    init = next((block for block in first.blocks if placement.is_init(block.name)), None)
    return Loading(
        caller_pid=first.loader.pid,
        caller_comm=watched.init.task_comm if watched is not None and watched.init is not None else "",
        log=first.log,
        init_function=watched.init.function if watched is not None and watched.init is not None else "",
        init_address=watched.init_address if watched is not None else 0,
        init_stop=watched.init if watched is not None else None,
        resolve_stop=watched.resolve if watched is not None else None,
        init_block=init,
        init_mapped_during=watched.init_mapped if watched is not None else 0,
        init_mapped_after=first.init_mapped_after,
        tasks_before=first.tasks_before,
        tasks_after=first.tasks_after,
        maps_naming_it=maps,
        executed=plain.loaded,
        timeline=timeline,
        timeline_raw=raw,
    )


def _opening(bench: Bench, first: Load, plain: PlainLife) -> Opening:
    guest, name, device = bench.guest, bench.file.name, plain.device
    core = tuple(block for block in first.blocks if not placement.is_init(block.name))
    traces = tracing.is_there(guest)
    quiet_trace, open_trace, probe = "", "", ""
    mark = guest.kernel_log.mark()
    with contextlib.ExitStack() as on:
        trace = on.enter_context(tracing.traced(guest, "function", (f"*:mod:{name}",))) if traces else [""]
        with bench.log.recording("left alone") as quiet:
            guest.machine.settle(QUIET_SECONDS)
    quiet_trace = trace[0]
    opened = None
    opener = guest.process()
    if device:
        with bench.log.recording(f"open and close {device}") as executed:
            opener.open(device).close()
        opened = named(executed[0], core, first.names)
        if traces:
            with tracing.traced(guest, "function", (f"*:mod:{name}",)) as trace:
                opener.open(device).close()
            open_trace = trace[0]
        if plain.open_function:
            with (
                contextlib.suppress(OSError),
                tracing.probed_stack(guest, name, plain.open_function) as probed,
            ):
                opener.open(device).close()
            probe = probed[0] if probed else ""
    guest.kernel_log.sync(guest.syscaller)
    stops = first.watched.opens if first.watched is not None else ()
    stack = sharing.stack_line(guest, opener)
    opener.kill()
    return Opening(
        device=device,
        quiet=named(quiet[0], core, first.names),
        opened=opened,
        traced_quiet=tracing.traced_functions(quiet_trace),
        traced_open=tracing.traced_functions(open_trace),
        traced_raw=_both(quiet_trace, open_trace),
        opener_pid=opener.pid,
        stop=stops[0] if stops else None,
        log=guest.kernel_log.text_since(mark),
        function=plain.open_function,
        user_stack=stack,
        probe=probe,
        probed_stack_pointer=tracing.parse_stack_pointer(probe),
    )


def _both(quiet: str, opened: str) -> str:
    if not quiet:
        return ""
    parts = (("left alone", quiet), ("opened and closed", opened))
    return "\n\n".join(f"{what}:\n{tracing.entries(trace) or '(nothing)'}" for what, trace in parts)


def _linking(bench: Bench, first: Load, refused: refusals.Refusals) -> Linking:
    guest, file = bench.guest, bench.file
    bound = placement.relocations(
        bench.ground, file, bench.layout, first.bases, placement.exports_of(guest, bench.subject.providers)
    )
    report = verify_modules(guest, bench.ground.kernel, [file], bench.subject.providers)
    kept = {section.name for section in report.modules[0].sections}
    compared = [one for one in bound if one.what.section.name in kept]
    strange = [run for section in report.modules[0].sections for run in section.unexplained]
    differing = [
        one
        for one in compared
        if any(run.address < one.where + one.size and one.where < run.address + run.size for run in strange)
    ]
    dependent = bench.subject.dependent
    with_it, dependent_bound, private = _dependent(bench)
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
        unexported_line=refusals.system_map_line(bench.ground, refused.unexported),
        unexported_attempt=refused.wanting,
        exports=tuple(sorted(file.exports)),
        dependent=dependent.name if dependent is not None else "",
        dependent_without=refused.dependent,
        dependent_with=with_it,
        dependent_bound=dependent_bound,
        private_attempt=private,
    )


def _dependent(bench: Bench) -> tuple[Attempt | None, tuple[BoundRelocation, ...], Attempt | None]:
    """Loads the dependent on top, binds it on the host, removes it, has it want what is not exported."""
    other, file = bench.subject.dependent, bench.file
    if other is None:
        return None, (), None
    guest = bench.guest
    attempt = attempts.finit(guest, f"{other.name} with {file.name} loaded", other.data)
    if not attempt.worked:
        return attempt, (), None
    bound = placement.relocations_of_loaded(guest, bench.ground, other, layout_of(bench.ground, other), file)
    attempts.delete(guest, "rmmod", other.name)
    wanted = next(symbol.name for symbol in other.undefined if symbol.name in file.exports)
    private = next(
        symbol.name for symbol in file.symbols if symbol.kind == "FUNC" and symbol.name not in file.exports
    )
    changed = crafted_modules.with_undefined_symbol_renamed(other.data, wanted, private)
    refused = attempts.finit(guest, f"{other.name} with {private} in the place of {wanted}", changed)
    return attempt, bound, refused


def _shown(bench: Bench) -> Shown:
    guest = bench.guest
    vmalloc = ""
    with contextlib.suppress(OSError):
        lines = guest.read_text("/proc/vmallocinfo").splitlines()
        # the caller that vmalloc notes is module_alloc's (arch/x86/kernel/module.c:80, 6.1), later its own
        vmalloc = "\n".join(line for line in lines if _ALLOCATED_BY.search(line))
    kallsyms = guest.kallsyms() if guest.exists("/proc/kallsyms") else Kallsyms(())
    exports = (entry for entry in kallsyms.of_module(bench.file.name) if entry.name.startswith("__ksymtab_"))
    return Shown(
        LoadedModule(guest, bench.file).sections,
        kallsyms.kernel_address_of.get("_text", 0),
        tuple(f"{entry.address:016x} {entry.type} {entry.name} [{entry.module}]" for entry in exports),
        vmalloc,
    )


def _timeline(bench: Bench) -> tuple[tuple[Step, ...], str]:
    """Loads the module once more, traced, and removes it."""
    guest = bench.guest
    if not tracing.is_there(guest):
        return (), ""
    with guest.process() as loader:
        with tracing.trace_load(guest, loader) as trace:
            attempt = attempts.finit(
                guest, "insmod, traced", bench.file.data, parameters=bench.subject.parameters, process=loader
            )
        pid = loader.pid
    if attempt.worked:
        attempts.delete(guest, "rmmod", bench.file.name)
    return tracing.parse_timeline(trace[0], pid), tracing.entries(trace[0])
