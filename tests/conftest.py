"""The sample modules for every test that boots; built by `make modules`, never here."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# an example's 200 ms of wall clock say how busy the machine is; what must be fast is timed by processor time
settings.register_profile("kmod-harness", deadline=None)
settings.load_profile("kmod-harness")

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def sample_modules(pytestconfig: pytest.Config) -> Path:
    """Where `make modules` builds them for the kernel of this run (--kh-kernel, --kh-kconfig)."""
    from kmod_harness.build.kernels import resolve_kernel
    from kmod_harness.cli.modules import sample_directory
    from kmod_harness.spec import Spec

    kernel = pytestconfig.getoption("kh_kernel") or pytestconfig.getini("kh_kernel")
    kconfig = pytestconfig.getoption("kh_kconfig") or pytestconfig.getini("kh_kconfig")
    return sample_directory(resolve_kernel(Spec(kernel=kernel or "minimal", kconfig=tuple(kconfig))))


def _module(directory: Path, name: str) -> Path:
    """Returns NAME/NAME.ko there; fails the test when it was not built."""
    path = directory / name / f"{name}.ko"
    if not path.is_file():
        pytest.fail(f"{path} is not there: run `make modules` (KERNEL=...)", pytrace=False)
    return path


@pytest.fixture(scope="session")
def chardev_ko(sample_modules: Path) -> Path:
    return _module(sample_modules, "chardev")


@pytest.fixture(scope="session")
def chardev_stats_ko(sample_modules: Path) -> Path:
    return _module(sample_modules, "chardev_stats")


@pytest.fixture(scope="session")
def faulty_ko(sample_modules: Path) -> Path:
    return _module(sample_modules, "faulty")
