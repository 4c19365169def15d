"""Loading by a plan, at a guest whose kernel answers as it is told."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, cast

import pytest

from kmod_harness.errors import DependencyNotLoaded, ModuleLoadError, ModuleMismatch
from kmod_harness.guest.dependencies import (
    ModuleLoader,
    load_planned,
    load_with_needs,
    needs_of,
    said_besides,
)
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.loading.own_modules import OwnModules
from kmod_harness.kmod.loading.plan import Load, Why
from kmod_harness.kmod.preflight import KernelFacts
from kmod_harness.spec.spec import Spec
from unit.kmod.loading.sample import module


class Loaded:
    def __init__(self, file: KernelModule) -> None:
        self.file, self.name, self._is_given = file, file.name, True


class FakeGuest:
    """Loads modules without a machine; `refused`: name -> errno."""

    def __init__(self, refused: dict[str, int] | None = None) -> None:
        self.spec = Spec()
        self.modules: tuple[Loaded, ...] = ()
        self._refused = refused or {}
        self._inherited: tuple[KernelModule, ...] = ()
        self._own_modules: Callable[[], OwnModules | None] = lambda: None
        self._kernel_facts = lambda: KernelFacts("6.1.0", exported={}, provided={"virtio": {}})
        self._modprobe = self
        self.syscaller = None

    def add(self, *ignored: object) -> None: ...

    def _load_alone(self, file: KernelModule, *ignored: object, is_given: bool = True) -> Any:
        if file.name in self._refused:
            raise ModuleLoadError("no", self._refused[file.name], evidence="the log")
        self.modules += (Loaded(file),)
        self.modules[-1]._is_given = is_given
        return self.modules[-1]


def loader(guest: FakeGuest) -> ModuleLoader:
    return cast(ModuleLoader, guest)


NEEDED = Load(module("mc"), Why.NEEDED, "videodev")


def test_what_another_needs_and_does_not_load_is_told_as_that() -> None:
    with pytest.raises(DependencyNotLoaded) as error:
        load_planned(loader(FakeGuest({"mc": errno.ENODEV})), NEEDED)
    assert "mc, needed by videodev, could not be loaded: ENODEV" in error.value.message
    assert error.value.evidence == "the log" and "videodev was not tried" in error.value.advice


def test_what_is_there_or_can_be_done_without_is_no_failure() -> None:
    assert load_planned(loader(FakeGuest({"mc": errno.EEXIST})), NEEDED) is None
    soft = Load(module("mc"), Why.PRE, "videodev", is_required=False)
    assert load_planned(loader(FakeGuest({"mc": errno.ENODEV})), soft) is None


def test_a_given_module_fails_as_itself() -> None:
    with pytest.raises(ModuleLoadError):
        load_planned(loader(FakeGuest({"mc": errno.EEXIST})), Load(module("mc")))


def test_what_was_loaded_besides_is_marked_and_said() -> None:
    guest = FakeGuest()
    for load in (NEEDED, Load(module("videodev"))):
        load_planned(loader(guest), load)
    assert [loaded._is_given for loaded in guest.modules] == [False, True]
    assert said_besides([NEEDED, Load(module("videodev"))]) == "loaded besides: mc (needed by videodev)"
    assert said_besides([Load(module("videodev"))]) == ""


def test_what_is_loaded_already_is_not_needed_again() -> None:
    guest = FakeGuest()
    core = module("core", exports=("call",))
    load_planned(loader(guest), Load(core))
    before, itself, behind = needs_of(loader(guest), module("user", "core", "virtio", uses=("call",)))
    assert (before, itself.module.name, behind) == ((), "user", ())


def test_a_module_that_would_be_refused_loads_nothing_at_all() -> None:
    guest = FakeGuest()
    with pytest.raises(ModuleMismatch, match=r"would refuse user\.ko") as error:
        load_with_needs(loader(guest), module("user", uses=("nowhere",)), {}, None, None)
    assert guest.modules == () and "give the module that exports it" in error.value.advice
