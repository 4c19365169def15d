"""The fragments of kernel-config/ as shipped: each line has a reason, each renaming serves one of them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kconfig import (
    parse_fragment,
    parse_renamings,
    parse_substitutions,
    with_current_names,
)
from kmod_harness.host.resources import minimal_config

DIRECTORY = minimal_config().parent
FRAGMENTS = sorted(DIRECTORY.glob("*.config"))
TABLE = (DIRECTORY / "renamed-symbols.txt").read_text()
RENAMINGS = parse_renamings(TABLE)
ASKED = {request.symbol for path in FRAGMENTS for request in parse_fragment(path.read_text(), path.name)}

fragments = pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.stem)


@fragments
def test_each_group_of_options_begins_with_its_reason(path: Path) -> None:
    without = []
    for group in re.split(r"\n\s*\n", path.read_text().strip()):
        first = group.splitlines()[0]
        if parse_fragment(group, path.name) and (
            not first.startswith("# ") or parse_fragment(first, path.name)
        ):
            without.append(first)
    assert without == []


@fragments
def test_a_fragment_asks_once_for_each_symbol(path: Path) -> None:
    asked = Counter(request.symbol for request in parse_fragment(path.read_text(), path.name))
    assert [symbol for symbol, times in asked.items() if times > 1] == []


def test_each_renaming_is_of_a_symbol_that_a_fragment_asks_for() -> None:
    assert {renaming.older for renaming in RENAMINGS} - ASKED == set()


def test_each_renaming_says_why() -> None:
    rows = [line for line in TABLE.splitlines() if line.strip() and not line.startswith("#")]
    assert len(rows) == len(RENAMINGS) > 0
    assert [row for row in rows if not row.partition("#")[2].strip()] == []


def test_a_symbol_is_renamed_once() -> None:
    names = Counter(name for renaming in RENAMINGS for name in (renaming.older, renaming.newer) if name)
    assert [name for name, times in names.items() if times > 1] == []


def test_a_later_kernel_is_asked_by_its_own_names_and_not_for_what_is_gone() -> None:
    requests = parse_fragment(minimal_config().read_text(), "minimal.config")
    later = (ASKED - {renaming.older for renaming in RENAMINGS}) | {r.newer for r in RENAMINGS if r.newer}

    asked = {request.symbol for request in with_current_names(later, requests, RENAMINGS)}

    assert asked & {renaming.older for renaming in RENAMINGS} == set()
    assert {"MITIGATION_RETPOLINE", "MITIGATION_PAGE_TABLE_ISOLATION"} <= asked


def test_each_substitution_is_of_a_symbol_that_a_fragment_asks_for_and_says_why() -> None:
    table = (DIRECTORY / "older-releases.txt").read_text()
    rows = [line for line in table.splitlines() if line.strip() and not line.startswith("#")]
    assert [row for row in rows if not row.partition("#")[2].strip()] == []
    assert {item.symbol for item in parse_substitutions(table)} - ASKED == set()
    assert len(parse_substitutions(table)) == len(rows)
