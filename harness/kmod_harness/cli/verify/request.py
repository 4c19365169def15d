"""The request of a `verify`: files and names made into modules, in load order, with their dependencies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from kmod_harness.build.image.initrd import channel_modules
from kmod_harness.cli.given_modules import GivenModules, meant_modules
from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.kmod.loading.names import plain
from kmod_harness.kmod.loading.plan import Load, plan_loading
from kmod_harness.lifecycle.prepare import Prepared


@dataclass(frozen=True)
class VerifyPlan:
    """present: loaded by the harness's init. order: to be loaded. targets: to be verified."""

    present: tuple[KernelModule, ...]
    order: tuple[Load, ...]
    targets: tuple[KernelModule, ...]

    @property
    def known(self) -> tuple[KernelModule, ...]:
        """Loaded modules that are not verified, but may export what the targets use."""
        names = {module.name for module in self.targets}
        loaded = (*self.present, *(load.module for load in self.order))
        return tuple(module for module in loaded if module.name not in names)

    def without(self, names: Collection[str]) -> VerifyPlan:
        """Returns the plan less these modules: softdeps that this machine has no use for."""
        return VerifyPlan(
            self.present,
            tuple(load for load in self.order if load.module.name not in names),
            tuple(module for module in self.targets if module.name not in names),
        )


def plan(given: GivenModules, prepared: Prepared, *, with_dependencies: bool) -> VerifyPlan:
    """Returns the modules to load and those to verify. Raises Misuse, as `plan_given` does.

    A module that the harness's init loads is verified as it lies there.
    """
    present = {module.name: module for module in map(read_module, channel_modules(prepared.kernel))}
    wanted = tuple(present.get(plain(module.name), module) for module in meant_modules(given, prepared))
    own = prepared.own_modules
    absent = [module for module in wanted if module.name not in present]
    order = plan_loading(absent, own, read=read_module, present=present).loads
    targets = tuple({module.name: module for module in wanted}.values())
    if with_dependencies:
        there = tuple(module for module in targets if module.name in present)
        targets = (*there, *(load.module for load in order))
    return VerifyPlan(tuple(present.values()), order, targets)
