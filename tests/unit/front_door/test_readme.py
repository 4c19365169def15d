"""The README is short, and what it says CI proves is what CI runs."""

from __future__ import annotations

import re

from shared.checkout import ROOT

README = (ROOT / "README.md").read_text()


def cells(title: str) -> list[str]:
    """The cells of the table's row with this title, without it."""
    row = next(line for line in README.splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_the_readme_is_about_120_lines() -> None:
    assert len(README.splitlines()) <= 130


def test_the_table_of_what_is_supported_tells_what_ci_types_on_each_debian() -> None:
    ci = dict(re.findall(r'^\tin_root (\w+) "(.*)"$', (ROOT / ".ci/run").read_text(), re.MULTILINE))
    assert list(ci) == ["bookworm", "trixie"]
    told = [tuple(re.findall(r"`([^`]+)`", cell)) for cell in cells("`.ci/run` types")]
    assert told == [tuple(commands.split("; ")) for commands in ci.values()]
