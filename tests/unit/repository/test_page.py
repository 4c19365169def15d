"""harness/docs/configuration.md against the code: its table of keys, its examples, its messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kmod_harness.cli.parser import parse
from kmod_harness.errors import Misuse
from kmod_harness.host.resources import fragment_names
from kmod_harness.repository.parse import KEY_NAMES, parse_settings
from shared.checkout import ROOT

PAGE = (ROOT / "harness/docs/configuration.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_table_has_every_key_in_order() -> None:
    table = PAGE.split("## Keys")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([\w.-]+)` \|", table, re.MULTILINE) == list(KEY_NAMES)


def test_every_fragment_that_comes_with_the_harness_is_named() -> None:
    table = PAGE.split("## Keys")[1].split("\n## ")[0]
    (row,) = (line for line in table.splitlines() if line.startswith("| `kconfig`"))
    assert set(re.findall(r"`([\w-]+)`", row)) >= {*fragment_names()}


@pytest.mark.parametrize("text", EXAMPLES)
def test_each_example_can_be_read(text: str) -> None:
    name = "pyproject.toml" if "[tool." in text else "kmod-harness.toml"
    assert parse_settings(text.encode(), Path("/repo", name)).modules.are_said


def test_each_command_is_one() -> None:
    commands = re.findall(r"^    kmod-harness ([^#\n]*)", PAGE, re.MULTILINE)
    assert len(commands) > 5
    for command in commands:
        parse(command.split())


def test_each_message_is_what_is_said() -> None:
    shown = re.findall(r"^    (kmod-harness\.toml:\d+: .*)", PAGE, re.MULTILINE)
    said = []
    for text in ("\ncpu = 2\n", "\n\nmemory = 512\n", "\n" * 6 + "cpus = \n"):
        with pytest.raises(Misuse) as told:
            parse_settings(text.encode(), Path("kmod-harness.toml"))
        said.append(told.value.message)
    assert shown == said
