"""Loading what a plan says: a module that was asked for, and what it cannot do without."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from kmod_harness.errors import DependencyNotLoaded, ModuleLoadError
from kmod_harness.guest.loaded_module import LoadedModule, Parameter
from kmod_harness.kmod.loading.plan import Load

if TYPE_CHECKING:
    from kmod_harness.guest.guest import Guest
    from kmod_harness.guest.process import Process


def load_planned(
    guest: Guest,
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
        return guest.load(module.path, parameters, process=process, force=True, timeout=timeout)
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


def said_besides(loads: Iterable[Load]) -> str:
    """Returns the line that says what was loaded besides, and for what; "" when nothing was."""
    told = [f"{load.module.name} ({load.reason})" for load in loads if not load.is_given]
    return f"loaded besides: {', '.join(told)}" if told else ""
