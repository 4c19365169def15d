"""The sample modules for every test that boots; built by `make modules`, never here."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

_BUILT = Path(__file__).parent.parent / "build" / "modules"


def _module(name: str) -> Path:
    """Returns build/modules/NAME/NAME.ko; fails the test when it was not built."""
    path = _BUILT / name / f"{name}.ko"
    if not path.is_file():
        pytest.fail(f"{path} is not there: run `make modules`", pytrace=False)
    return path


@pytest.fixture(scope="session")
def chardev_ko() -> Path:
    return _module("chardev")


@pytest.fixture(scope="session")
def chardev_stats_ko() -> Path:
    return _module("chardev_stats")


@pytest.fixture(scope="session")
def faulty_ko() -> Path:
    return _module("faulty")
