"""The sample modules for every test that boots; built by `make modules`, never here."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.cli.commands.modules import sample_directory
from needs.looking import kernel_of

# an example's 200 ms of wall clock say how busy the machine is; what must be fast is timed by processor time
settings.register_profile("kmod-harness", deadline=None)
settings.load_profile("kmod-harness")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts `make test &` so, and every program that a test starts would
    # ignore what the test sends it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["pytester", "needs.hooks"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update",
        action="store_true",
        help="write down anew what is read from recorded data, as the tests see it",
    )


@pytest.fixture(scope="session")
def run_kernel(pytestconfig: pytest.Config) -> Kernel:
    """The kernel of this run, as the options name it."""
    return kernel_of(pytestconfig)


@pytest.fixture(scope="session")
def sample_modules(pytestconfig: pytest.Config) -> Path:
    """Where `make modules` builds them for the kernel of this run (--kh-kernel, --kh-kconfig)."""
    return sample_directory(kernel_of(pytestconfig))


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
