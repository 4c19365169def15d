"""Runs of pytest inside this run, with the kernel that this run was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from needs.looking import chosen
from plugin.strangers import RunSuite, SuiteRun, run_pytest


@pytest.fixture(scope="session")
def kernel_option(pytestconfig: pytest.Config) -> list[str]:
    """The kernel of this run, as an option for the runs inside it, which have other working directories."""
    names = chosen(pytestconfig, "kernel")
    return [f"--kh-kernel={Path(name).absolute() if '/' in name else name}" for name in names]


@pytest.fixture(scope="session")
def run_suite(tmp_path_factory: pytest.TempPathFactory, kernel_option: list[str]) -> RunSuite:
    """Returns a function that writes files into a new directory and runs pytest there."""

    def run(files: dict[str, str], *options: str) -> SuiteRun:
        return run_pytest(tmp_path_factory.mktemp("stranger"), files, *kernel_option, *options)

    return run
