"""The modules that a command line names, and what is loaded for them in the kernel that is booted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kmod_harness.errors import Misuse, UnknownModule
from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.kmod.loading import names
from kmod_harness.kmod.loading.plan import LoadPlan, plan_loading

if TYPE_CHECKING:
    from kmod_harness.lifecycle.prepare import Prepared


@dataclass(frozen=True)
class GivenModules:
    """words: as they were given. files: word -> module, of those words that are paths."""

    words: tuple[str, ...] = ()
    files: Mapping[str, KernelModule] = field(default_factory=dict)

    @property
    def first_module(self) -> KernelModule | None:
        """The first file that says what kernel it was built for, which chooses the kernel."""
        return next((module for module in self.files.values() if module.release), None)

    @property
    def paths(self) -> tuple[str, ...]:
        """The words that are paths."""
        return tuple(word for word in self.words if word in self.files)


@dataclass(frozen=True)
class PlannedModules:
    """given: what the words mean, in their order. plan: what is loaded for them."""

    given: tuple[KernelModule, ...] = ()
    plan: LoadPlan = field(default_factory=LoadPlan)


def is_path(word: str) -> bool:
    """True for what names a file: it exists, has a slash, or ends as a .ko does."""
    return names.is_path(word) or Path(word).is_file()


def read_given(words: Sequence[str]) -> GivenModules:
    """Returns the modules that the words name, those by path read. Raises ModuleFileError."""
    return GivenModules(tuple(words), {word: read_module(word) for word in words if is_path(word)})


def meant_modules(given: GivenModules, prepared: Prepared) -> tuple[KernelModule, ...]:
    """Returns the modules that the words mean, in their order; names are of the kernel's own modules.

    Raises Misuse: built in, unknown (UnknownModule), an alias of several modules.
    """
    return tuple(given.files.get(word) or _by_name(word, prepared) for word in given.words)


def _by_name(word: str, prepared: Prepared) -> KernelModule:
    try:
        return read_module(prepared.own_modules.file_of(word))
    except UnknownModule as error:
        if Path(f"{word}.ko").is_file():
            error.advice = f"{word}.ko is a file here: give it by that name"
        raise


def plan_given(given: GivenModules, prepared: Prepared) -> PlannedModules:
    """Returns the plan; names and dependencies are looked for among the kernel's own modules.

    Raises Misuse: as `meant_modules`, two modules of one name, one given twice, one that the harness loads.
    """
    if not given.words:
        return PlannedModules()
    present = prepared.present_modules
    modules = meant_modules(given, prepared)
    for module in modules:
        if names.plain(module.name) in present:
            raise Misuse(
                f"{module.name} is loaded by the harness itself, for its channels to the guest",
                advice="leave it out: it is there when the guest is ready",
            )
    plan = plan_loading(modules, prepared.own_modules, read=read_module, present=present)
    return PlannedModules(modules, plan)
