"""The command line under the image of this run, as the fixtures are."""

from __future__ import annotations

import cli_process
import pytest


@pytest.fixture(scope="session", autouse=True)
def command_lines_boot_the_image_of_this_run(pytestconfig: pytest.Config) -> None:
    """What --kh-rootfs names, for the runs of `kmod-harness` that say nothing of their machine."""
    cli_process.rootfs = pytestconfig.getoption("kh_rootfs") or pytestconfig.getini("kh_rootfs") or ""
