"""The fixture chain: machine_spec -> machine -> pristine -> guest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kmod_harness.pytest_plugin.markers import is_cold
from kmod_harness.pytest_plugin.options import SETTINGS
from kmod_harness.pytest_plugin.session import state_of
from kmod_harness.spec.spec import Spec

if TYPE_CHECKING:
    from kmod_harness.guest.guest import Guest
    from kmod_harness.guest.loaded_module import LoadedModule
    from kmod_harness.pytest_plugin.testbed import Pristine, Testbed
    from kmod_harness.verify.report import Report

#: fixture `machine` -> the `machine_spec` it was made of: pytest's FixtureDefs
_MADE_OF = pytest.StashKey[dict[Any, Any]]()


@pytest.fixture(scope="session")
def machine_spec(pytestconfig: pytest.Config) -> Spec:
    """The machine to boot: the Spec that the --kh-... options describe. Override it for your own."""
    return pytestconfig.stash[SETTINGS].spec


@pytest.fixture(scope="session")
def machine(machine_spec: Spec, pytestconfig: pytest.Config) -> Iterator[Testbed]:
    """The machine under test.

    `with machine.guest() as other:` gives one more guest of it, `machine.checkpoint(name)` what
    `guest.checkpoint(name)` has saved.
    """
    from kmod_harness.pytest_plugin.testbed import prepare_testbed  # lazy

    with prepare_testbed(machine_spec, pytestconfig.stash[SETTINGS], state_of(pytestconfig)) as testbed:
        yield testbed


@pytest.fixture(scope="session")
def pristine(machine: Testbed) -> Iterator[Pristine]:
    """The state that each test's guest starts from; override it to give a checkpoint.

    `yield guest.checkpoint()` in it, or `return machine.checkpoint(name)`.
    """
    from kmod_harness.pytest_plugin.testbed import Pristine  # lazy

    with Pristine(machine) as pristine:
        yield pristine


@pytest.fixture
def guest(machine: Testbed, pristine: Pristine, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A pristine guest: `load`, `open`, `run`, `shell`, `ssh`, `kernel_log`.

    At the test's end what it loaded is unloaded, the kernel log is completed and judged; the next
    test has another guest.
    """
    with machine.guest(cold=True) if is_cold(request.node) else pristine.guest(in_turn=True) as guest:
        yield guest


@pytest.fixture(scope="session")
def built_modules(
    machine: Testbed, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """The modules that kmod-harness.toml names, built for the machine's kernel: name -> .ko, in load order.

    The name is the kernel's or the file's (my_driver, my-driver). The only fixture that compiles, and never a
    kernel. Raises BuildFailed with the first error, Misuse where no file names modules.
    """
    from kmod_harness.build.repository_modules import build_repository_modules  # lazy
    from kmod_harness.kmod.elf.module import read_module  # lazy
    from kmod_harness.kmod.loading.plan import plan_loading  # lazy

    paths = build_repository_modules(
        pytestconfig.stash[SETTINGS].repository,
        machine.prepared.kernel,
        copies=tmp_path_factory.mktemp("built_modules"),
    )
    plan = plan_loading([read_module(path) for path in paths], read=read_module)
    return _ByName({module.name: module.path for module in plan.modules})


class _ByName(dict[str, Path]):
    """Modules by the kernel's names; a file's name with a dash means the same."""

    def __missing__(self, name: str) -> Path:
        plain = name.replace("-", "_")
        if plain in self:
            return self[plain]
        raise KeyError(f"{name}: the modules of kmod-harness.toml are {', '.join(self)}")


@pytest.fixture
def verify_modules(machine: Testbed, guest: Guest) -> Callable[..., Report]:
    """`verify_modules(guest.load("my.ko"), ...)`: accounts for every byte of loaded modules, from outside.

    Returns the report; raises ModuleNotExplained for what nothing explains, and a
    typed error for what cannot be verified here.
    """
    from kmod_harness.build.image.initrd import channel_modules  # lazy
    from kmod_harness.kmod.elf.module import read_module  # lazy
    from kmod_harness.verify.require_explained import require_explained  # lazy
    from kmod_harness.verify.verify_modules import verify_modules  # lazy

    def verify(*modules: LoadedModule) -> Report:
        kernel = machine.prepared.kernel
        files = [module.file for module in modules]
        names = {file.name for file in files}
        others = [*map(read_module, channel_modules(kernel)), *guest._inherited]
        others += [module.file for module in guest.modules]
        known = [file for file in others if file.name not in names]
        report = verify_modules(guest, kernel, files, known)
        require_explained(report)
        return report

    return verify


def follow_override(item: pytest.Item) -> None:
    """End a `machine` that was made of another `machine_spec` than this test's, so that pytest makes it anew.

    pytest keeps a session's fixture when a module overrides what it was made of, and would give the module's
    tests the machine of the module before.
    """
    fixtures: dict[str, Any] = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    if not fixtures.get("machine") or not fixtures.get("machine_spec"):
        return
    machine, spec = fixtures["machine"][-1], fixtures["machine_spec"][-1]
    made_of = item.config.stash.setdefault(_MADE_OF, {})
    if made_of.get(machine, spec) is not spec:
        machine.finish(item._request)  # type: ignore[attr-defined]
    made_of[machine] = spec
