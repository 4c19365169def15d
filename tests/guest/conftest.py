"""The command line at the machine of this run, as the fixtures are."""

from __future__ import annotations

import pytest

from needs.looking import chosen
from shared import cli_process


@pytest.fixture(scope="session", autouse=True)
def command_lines_boot_the_machine_of_this_run(pytestconfig: pytest.Config) -> None:
    """What the --kh options name, for the runs of `kmod-harness` that say nothing of their machine."""

    def words(name: str) -> tuple[str, ...]:
        return tuple(word for value in chosen(pytestconfig, name) for word in (f"--{name}", value))

    cli_process.machine = cli_process.Machine((*words("kernel"), *words("kconfig")), words("rootfs"))
