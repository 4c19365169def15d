"""Loading what a plan says: a module that was asked for, and what it cannot do without."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kmod_harness.errors import DependencyNotLoaded, ModuleLoadError
from kmod_harness.guest.loaded_module import LoadedModule, refuse
from kmod_harness.guest.modprobe import ModprobeDirectory
from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.kmod.loading import names
from kmod_harness.kmod.loading.own_modules import OwnModules
from kmod_harness.kmod.loading.parameters import Parameter
from kmod_harness.kmod.loading.plan import Load, LoadPlan, plan_loading
from kmod_harness.kmod.preflight import KernelFacts, preflight
from kmod_harness.spec.spec import Spec

if TYPE_CHECKING:
    from kmod_harness.guest.process import Process


class ModuleLoader(Protocol):
    """The guest that modules are loaded in, as far as loading them in order needs it."""

    _kernel_facts: Callable[[], KernelFacts | None]
    _own_modules: Callable[[], OwnModules | None]
    _modprobe: ModprobeDirectory
    #: of the checkpoint that the guest comes from
    _inherited: tuple[KernelModule, ...]

    @property
    def spec(self) -> Spec: ...

    @property
    def modules(self) -> tuple[LoadedModule, ...]: ...

    @property
    def syscaller(self) -> Process: ...

    def _load_alone(
        self,
        file: KernelModule,
        parameters: Mapping[str, Parameter],
        process: Process | None,
        timeout: float | None,
        *,
        is_given: bool = True,
    ) -> LoadedModule: ...


def file_meant(guest: ModuleLoader, path: str | Path) -> KernelModule:
    """Returns the module that a path, or the name of one of the kernel's own modules, means.

    Raises ModuleFileError, UnknownModule; Misuse for a built-in module and for an alias of several.
    """
    if isinstance(path, Path) or names.is_path(path) or Path(path).is_file():
        return read_module(path)
    return read_module((guest._own_modules() or OwnModules()).file_of(path))


def check_against_kernel(
    guest: ModuleLoader, file: KernelModule, needed: Iterable[KernelModule] = ()
) -> None:
    """Raises ModuleMismatch for a module that the kernel would refuse with `needed` loaded before it."""
    facts = guest._kernel_facts()
    if facts is not None:
        for loaded in (*_files(guest), *needed):
            facts = facts.with_module(loaded)
        refuse(file, preflight(file, facts), kernel=guest.spec.kernel or "minimal")


def load_with_needs(
    guest: ModuleLoader,
    file: KernelModule,
    parameters: Mapping[str, Parameter],
    process: Process | None,
    timeout: float | None,
) -> LoadedModule:
    """Checks a module, and loads it between what it still needs and what is to follow it.

    Raises ModuleMismatch, before anything is loaded; DependencyNotLoaded, ModuleLoadError.
    """
    before, itself, behind = needs_of(guest, file)
    check_against_kernel(guest, file, [load.module for load in before])
    there = [load for load in before if load_planned(guest, load, timeout=timeout) is not None]
    loaded = guest._load_alone(file, parameters, process, timeout)
    there += [itself, *(load for load in behind if load_planned(guest, load, timeout=timeout) is not None)]
    list_for_modprobe(guest, there)
    return loaded


def needs_of(guest: ModuleLoader, file: KernelModule) -> tuple[tuple[Load, ...], Load, tuple[Load, ...]]:
    """Returns the loads that are still to come before a module, its own, and those behind it."""
    facts = guest._kernel_facts()
    channels = facts.provided if facts is not None else {}
    present = {*channels, *(module.name for module in _files(guest))}
    loads = plan_loading([file], guest._own_modules(), read=read_module, present=present).loads
    at = next(index for index, load in enumerate(loads) if load.is_given)
    return loads[:at], loads[at], loads[at + 1 :]


def list_for_modprobe(guest: ModuleLoader, loads: Iterable[Load]) -> None:
    """Has modprobe and request_module find in the guest what was loaded there."""
    guest._modprobe.add(guest.syscaller, guest._own_modules(), loads)


def load_planned(
    guest: ModuleLoader,
    load: Load,
    parameters: Mapping[str, Parameter] | None = None,
    *,
    process: Process | None = None,
    timeout: float | None = None,
) -> LoadedModule | None:
    """Loads one module of a plan, unchecked; None for one that is there already or can be done without.

    Raises ModuleLoadError for a module that was asked for, DependencyNotLoaded for one that another needs.
    """
    module = load.module
    try:
        return guest._load_alone(module, parameters or {}, process, timeout, is_given=load.is_given)
    except ModuleLoadError as error:
        if load.is_given:
            raise
        if error.errno == errno.EEXIST or not load.is_required:
            return None
        raise DependencyNotLoaded(
            f"{module.name}, {load.reason}, could not be loaded: "
            f"{errno.errorcode.get(error.errno, error.errno)} ({os.strerror(error.errno)})",
            evidence=error.evidence,
            advice=f"{load.by} was not tried; kmod-harness run {module.name} shows the other alone",
        ) from error


def load_plan(
    guest: ModuleLoader, plan: LoadPlan, parameters: Mapping[str, Mapping[str, Parameter]]
) -> list[tuple[Load, LoadedModule]]:
    """Loads a whole plan and returns what was loaded; each module that was asked for is checked before.

    Raises ModuleMismatch, ModuleLoadError, DependencyNotLoaded.
    """
    loaded = []
    for load in plan.loads:
        if load.is_given:
            check_against_kernel(guest, load.module)
        module = load_planned(guest, load, parameters.get(load.module.name, {}))
        if module is not None:
            loaded.append((load, module))
    list_for_modprobe(guest, (load for load, _ in loaded))
    return loaded


def _files(guest: ModuleLoader) -> tuple[KernelModule, ...]:
    return (*guest._inherited, *(module.file for module in guest.modules))


def said_besides(loads: Iterable[Load]) -> str:
    """Returns the line that says what was loaded besides, and for what; "" when nothing was."""
    told = [f"{load.module.name} ({load.reason})" for load in loads if not load.is_given]
    return f"loaded besides: {', '.join(told)}" if told else ""
