"""The modules of a run: planned and checked before the boot, loaded in order, unloaded in reverse."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from kmod_harness.cli.given_modules import plan_given
from kmod_harness.cli.parameters import assign_parameters
from kmod_harness.cli.run.record import ModuleRow, RunRecord
from kmod_harness.errors import (
    CheckFailed,
    MachineFailure,
    Misuse,
    ModuleLoadError,
    ModuleMismatch,
    UnknownModule,
)
from kmod_harness.guest.dependencies import list_for_modprobe, load_planned, said_besides
from kmod_harness.kmod.loading.refusal import error_name
from kmod_harness.kmod.preflight import advice_for, preflight, unknown_parameters
from kmod_harness.report.columns import wrapped

if TYPE_CHECKING:
    from kmod_harness.cli.run.request import RunRequest
    from kmod_harness.guest.guest import Guest
    from kmod_harness.guest.loaded_module import LoadedModule
    from kmod_harness.lifecycle.prepare import Prepared

Say = Callable[[str], None]
#: Seconds that a program which the command left behind has to end.
_HOLDER_SECONDS = 1.0


class UnloadFailed(MachineFailure):
    """delete_module refused: the module is in use, or cannot be unloaded."""


def plan_modules(request: RunRequest, prepared: Prepared) -> list[ModuleRow]:
    """Returns the modules to load, in order, with their parameters. Raises Misuse, as `plan_given` does."""
    try:
        planned = plan_given(request.given, prepared)
    except UnknownModule as error:
        error.advice += "\n-> a command for the guest goes behind `--`"
        raise
    parameters = assign_parameters(request.parameters, planned.given, planned.plan.modules)
    return [ModuleRow(load, parameters.get(load.module.name, {})) for load in planned.plan.loads]


def refuse_mismatches(rows: Sequence[ModuleRow], prepared: Prepared, say: Say) -> None:
    """Raises ModuleMismatch, with both sides shown, before anything is booted; says what is only odd.

    The kernel's own modules are not looked at: they were built with it.
    """
    facts = prepared.kernel_facts()
    for row in rows:
        mismatches = preflight(row.file, facts) if row.load.is_given else ()
        fatal = [mismatch for mismatch in mismatches if mismatch.fatal]
        if fatal:
            advice = advice_for(fatal, row.file, prepared.spec.kernel or prepared.kernel.name)
            raise ModuleMismatch(
                f"the kernel {prepared.kernel.release} would refuse {row.file.path.name}",
                evidence="\n".join(map(str, mismatches)),
                advice=f"{advice}\n-> --kernel chooses another kernel, --force shows this one's own answer",
            )
        for mismatch in mismatches:
            _note(str(mismatch), say)
        facts = facts.with_module(row.file)


def refuse_unknown_parameters(rows: Sequence[ModuleRow], say: Say, *, force: bool) -> None:
    """Raises Misuse for parameters that no module has; says them where they are forced."""
    unknown = [str(finding) for row in rows for finding in unknown_parameters(row.file, row.parameters)]
    if unknown and not force:
        raise Misuse("\n".join(unknown), advice="--force passes it to the kernel, which only warns")
    for text in unknown:
        _note(text, say)


def load_all(guest: Guest, request: RunRequest, record: RunRecord, say: Say) -> None:
    """Loads the run's modules. Raises ModuleLoadError, DependencyNotLoaded, and what ends the guest.

    A load that fails as expected is none; CheckFailed where none does.
    """
    record.log_before_load = guest.kernel_log.mark()
    refused: list[ModuleRow] = []
    for row in record.modules:
        # a process of its own, as insmod's: an init that hangs or oopses takes nothing else with it
        try:
            row.loaded = load_planned(
                guest, row.load, row.parameters, process=guest.process(), timeout=request.timeout
            )
        except ModuleLoadError as error:
            if error.errno != request.expected_load_error:
                raise
            _note(f"{row.file.name} was not loaded, as expected: {error_name(error.errno)}", say)
            refused.append(row)
        if row.loaded is not None and row.load.is_given:
            say(f"loaded {row.file.name} at {row.loaded.address:#x}, {row.loaded.size} bytes")
    if request.expected_load_error is not None and not refused:
        raise CheckFailed(
            f"the expected load error {error_name(request.expected_load_error)} did not come",
            advice="every module was loaded",
        )
    there = [row.load for row in record.modules if row.loaded is not None]
    list_for_modprobe(guest, there)
    besides = said_besides(there)
    if besides:
        say("\n".join(wrapped(besides, further="    ")))


def unload_all(guest: Guest, request: RunRequest, record: RunRecord, say: Say) -> None:
    """Unloads in reverse order; a module the command unloaded itself is gone already.

    One that was loaded besides, and stays in use, is told. Raises UnloadFailed for one that was given.
    """
    for row in reversed(record.modules):
        if row.loaded is None or not row.loaded.is_loaded:
            row.unloaded = row.loaded is not None
            if row.loaded is not None:
                guest._note_unloaded(row.loaded)
            continue
        if row.loaded.is_permanent:
            row.stays = True
            _note(f"{row.file.name} has no exit function: it stays loaded, and is not tested for that", say)
            continue
        try:
            _unload_soon(guest, row.loaded, request.timeout)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            if not row.load.is_given:
                _note(f"{row.file.name}, which was loaded besides, was not unloaded: {reason}", say)
                continue
            raise _unload_failed(guest, row.loaded, error.errno or 0) from None
        row.unloaded = True


def _unload_soon(guest: Guest, module: LoadedModule, timeout: float) -> None:
    """Unloads a module, which a program that the command left behind may be about to give back.

    Raises OSError where it is still in use after a while.
    """
    try:
        module.unload(timeout=timeout)
    except BlockingIOError:
        from kmod_harness.guest.programs.holders import await_end_of, holders_of  # lazy

        pids = [holder.pid for holder in holders_of(guest.syscaller) if not holder.is_the_harness_own]
        if not pids:
            raise
        await_end_of(guest.syscaller, pids, _HOLDER_SECONDS)
        module.unload(timeout=timeout)


def _unload_failed(guest: Guest, module: LoadedModule, number: int) -> UnloadFailed:
    from kmod_harness.guest.programs.holders import holders_of, other_users  # lazy

    users = [*map(str, holders_of(guest.syscaller)), *other_users(guest.syscaller, module.name)]
    advice = "the command has to end what it starts" if users else "its own code holds it, or a kernel thread"
    return UnloadFailed(
        f"unloading {module.name} failed: {os.strerror(number)}",
        evidence="\n".join([f"reference count: {module.refcnt}", *users]),
        advice=advice,
    )


def names_that_must_go(rows: Sequence[ModuleRow]) -> Iterator[str]:
    """Yields the names of modules that may leave nothing behind: all but those that were told to stay."""
    for row in rows:
        if (row.load.is_given and not row.stays) or row.unloaded:
            yield row.file.name


def _note(text: str, say: Say) -> None:
    say("\n".join(wrapped(f"note: {text}", further="      ")))
