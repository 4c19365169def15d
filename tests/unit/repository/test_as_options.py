"""What the file says, as options; what is given on a command line leaves it unsaid."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.repository.as_options import options_said
from kmod_harness.repository.parse import parse_settings

TEXT = b"""\
kernel = "minimal"
kconfig = ["debug"]
append = ["quiet"]
memory = "2G"
cpus = 2
timeout = 5
"""
REPOSITORY = parse_settings(TEXT, Path("/repo/kmod-harness.toml"))


def test_each_key_is_an_option_of_its_name() -> None:
    assert options_said(REPOSITORY, []) == {
        "kernel": "minimal",
        "kconfig": ["debug"],
        "append": ["quiet"],
        "cpus": 2,
        "memory": "2048M",
        "timeout": 5.0,
    }


def test_an_option_that_is_given_is_not_said() -> None:
    assert set(options_said(REPOSITORY, ["cpus", "append"])) == {"kernel", "kconfig", "memory", "timeout"}


@pytest.mark.parametrize("given", ["kernel", "kconfig"])
def test_another_kernel_takes_no_fragment_and_another_fragment_no_kernel(given: str) -> None:
    assert not {"kernel", "kconfig"} & set(options_said(REPOSITORY, [given]))
