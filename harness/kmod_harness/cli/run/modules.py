"""The modules of a run: planned and checked before the boot, loaded in order, unloaded in reverse."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from kmod_harness.cli.given_modules import plan_given
from kmod_harness.cli.parameters import assign_parameters
from kmod_harness.cli.run.record import ModuleRow, RunRecord
from kmod_harness.errors import MachineFailure, Misuse, ModuleMismatch, UnknownModule
from kmod_harness.guest.dependencies import list_for_modprobe, load_planned, said_besides
from kmod_harness.kmod.preflight import advice_for, preflight, unknown_parameters
from kmod_harness.report.columns import wrapped

if TYPE_CHECKING:
    from kmod_harness.cli.run.request import RunRequest
    from kmod_harness.guest.guest import Guest
    from kmod_harness.lifecycle.prepare import Prepared

Say = Callable[[str], None]


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
    """Loads the run's modules. Raises ModuleLoadError, DependencyNotLoaded, and what ends the guest."""
    for row in record.modules:
        # a process of its own, as insmod's: an init that hangs or oopses takes nothing else with it
        row.loaded = load_planned(
            guest, row.load, row.parameters, process=guest.process(), timeout=request.timeout
        )
        if row.loaded is not None and row.load.is_given:
            say(f"loaded {row.file.name} at {row.loaded.address:#x}, {row.loaded.size} bytes")
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
        try:
            row.loaded.unload(timeout=request.timeout)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            if not row.load.is_given:
                _note(f"{row.file.name}, which was loaded besides, was not unloaded: {reason}", say)
                continue
            raise UnloadFailed(
                f"unloading {row.file.name} failed: {reason}",
                evidence=f"reference count: {row.loaded.refcnt}",
                advice="something still holds it open, or it has no exit function",
            ) from None
        row.unloaded = True


def names_that_must_go(rows: Sequence[ModuleRow]) -> Iterator[str]:
    """Yields the names of modules that may leave nothing behind: all but those that were told to stay."""
    for row in rows:
        if row.load.is_given or row.unloaded:
            yield row.file.name


def _note(text: str, say: Say) -> None:
    say("\n".join(wrapped(f"note: {text}", further="      ")))
