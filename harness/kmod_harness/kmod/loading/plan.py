"""The modules to load, their order and the reason for each, when some modules are asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from kmod_harness.errors import Misuse
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.loading.depmod_files import Softdeps, softdeps_of
from kmod_harness.kmod.loading.names import plain
from kmod_harness.kmod.loading.own_modules import OwnModules


class Why(StrEnum):
    """The reason for which a module is loaded; the values appear in JSON output."""

    GIVEN = "given"
    NEEDED = "needed"
    PRE = "softdep pre"
    POST = "softdep post"


@dataclass(frozen=True)
class Load:
    """One module of a plan.

    module: what its .ko says
    why: reason
    by: name of the module that it is loaded for, "" for one that was given
    is_required: False where the others go on without it, as modprobe does for softdeps
    needs: plain names of what the module cannot do without, loaded here or before
    """

    module: KernelModule
    why: Why = Why.GIVEN
    by: str = ""
    is_required: bool = True
    needs: tuple[str, ...] = ()

    @property
    def is_given(self) -> bool:
        """Whether it was asked for by itself."""
        return self.why is Why.GIVEN

    @property
    def reason(self) -> str:
        """Says what it is loaded for: `needed by xfs`, "" for one that was given."""
        if self.is_given:
            return ""
        return f"needed by {self.by}" if self.why is Why.NEEDED else f"{self.why.value} of {self.by}"


@dataclass(frozen=True)
class LoadPlan:
    """loads: in the order in which they are loaded, each after what it needs."""

    loads: tuple[Load, ...] = ()

    @property
    def modules(self) -> tuple[KernelModule, ...]:
        return tuple(load.module for load in self.loads)

    @property
    def besides(self) -> tuple[Load, ...]:
        """The modules that are loaded besides those that were asked for."""
        return tuple(load for load in self.loads if not load.is_given)


def plan_loading(
    given: Sequence[KernelModule],
    own: OwnModules | None = None,
    *,
    read: Callable[[Path], KernelModule],
    present: Collection[str] = (),
) -> LoadPlan:
    """Returns the plan for the given modules, which win over the kernel's own of their names.

    given: modules that were asked for; they keep their order where nothing else demands another
    own: the kernel's own modules, None without any
    read: reads a .ko of the kernel's own
    present: names of modules that are loaded already

    A module comes after those in its `depends` (or modules.dep's), after those that export a symbol it needs
    and after its softdeps `pre`, before its softdeps `post`. What is needed and nowhere to be found is left
    out: the kernel, or the preflight, says what it misses. Raises Misuse: two modules of one name, one given
    twice, modules that depend on each other in a circle.
    """
    plan = _Plan(_by_name(given), own or OwnModules(), read, frozenset(map(plain, present)))
    for module in given:
        plan.add(module, Load(module))
    return LoadPlan(tuple(plan.loads.values()))


class _Plan:
    """A plan while it is made.

    loads: what is in it, by plain name
    _trail: modules whose needs are being added, each with why it was reached; the innermost last
    """

    def __init__(
        self,
        given: Mapping[str, KernelModule],
        own: OwnModules,
        read: Callable[[Path], KernelModule],
        present: frozenset[str],
    ) -> None:
        self.loads: dict[str, Load] = {}
        self._given, self._own, self._read, self._present = given, own, read, present
        self._exporters = {name: module.name for module in given.values() for name in module.exports}
        self._trail: list[tuple[KernelModule, Why]] = []

    def add(self, module: KernelModule, load: Load) -> None:
        """Adds a module with all it needs before and after it."""
        name, reached = plain(module.name), load.why
        if name in self._given:
            load = Load(module)
        known = self.loads.get(name)
        if known is not None:
            if load.is_required and not known.is_required:
                self.loads[name] = replace(known, why=load.why, by=load.by, is_required=True)
            return
        if any(plain(under_way.name) == name for under_way, _ in self._trail):
            self._refuse_circle(name, reached)
            return
        self._trail.append((module, reached))
        softdeps = softdeps_of(module.modinfo) + self._own_softdeps(module)
        for wanted in softdeps.pre:
            self._add_softdep(wanted, load, Why.PRE)
        needs = self._needs(module)
        for needed in needs:
            found = self._find(needed)
            if found is not None:
                self.add(found, Load(found, Why.NEEDED, module.name, load.is_required))
        self._trail.pop()
        self.loads[name] = replace(load, needs=needs)
        for wanted in softdeps.post:
            self._add_softdep(wanted, load, Why.POST)

    def _needs(self, module: KernelModule) -> tuple[str, ...]:
        """Returns the plain names of what it cannot do without."""
        name = plain(module.name)
        told = self._own.depends.get(name, ()) if self._own.has(module) else ()
        needed = [*map(plain, module.depends), *told]
        exporters: Mapping[str, str] = self._exporters
        # modpost leaves `depends` empty for what it could not resolve (KBUILD_MODPOST_WARN)
        if not needed and self._own.files:
            exporters = {**self._own.exporters(), **exporters}
        undefined = (symbol.name for symbol in module.undefined if symbol.name not in module.exports)
        needed += [plain(exporters[symbol]) for symbol in undefined if symbol in exporters]
        return tuple(dict.fromkeys(found for found in needed if found != name))

    def _add_softdep(self, wanted: str, load: Load, why: Why) -> None:
        names = (plain(wanted),) if plain(wanted) in self._given else self._own.modules_meant(wanted)
        for name in names:
            found = self._find(name)
            if found is not None:
                self.add(found, Load(found, why, load.module.name, is_required=False))

    def _find(self, name: str) -> KernelModule | None:
        if name in self._given:
            return self._given[name]
        if name in self.loads:
            return self.loads[name].module
        if name in self._present or name not in self._own.files:
            return None
        return self._read(self._own.files[name])

    def _own_softdeps(self, module: KernelModule) -> Softdeps:
        told = self._own.softdeps.get(plain(module.name)) if self._own.has(module) else None
        return told or Softdeps()

    def _refuse_circle(self, name: str, reached: Why) -> None:
        """Raises Misuse where each needs the next; a circle with a softdep in it is broken there."""
        names = [plain(module.name) for module, _ in self._trail]
        circle = self._trail[names.index(name) :]
        if all(why in (Why.NEEDED, Why.GIVEN) for why in (reached, *(why for _, why in circle[1:]))):
            lines = (f"{module.name} depends on {', '.join(self._needs(module))}" for module, _ in circle)
            raise Misuse("modules depend on each other in a circle", evidence="\n".join(lines))


def _by_name(given: Sequence[KernelModule]) -> dict[str, KernelModule]:
    """Returns plain name -> module. Raises Misuse: one given twice, two modules of one name."""
    found: dict[str, KernelModule] = {}
    for module in given:
        twin = found.setdefault(plain(module.name), module)
        if twin is module:
            continue
        if twin.path.resolve() == module.path.resolve():
            raise Misuse(
                f"{module.name} is given twice",
                evidence=f"{twin.path}\n{module.path}",
                advice="leave one out",
            )
        raise Misuse(
            f"two modules are named {module.name}",
            evidence=f"{twin.path}\n{module.path}",
            advice="the kernel loads one module of a name: leave one out",
        )
    return found
