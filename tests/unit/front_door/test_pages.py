"""What the pages of harness/docs say as tables and recipes, against the code that it is about."""

from __future__ import annotations

import re

import pytest

from kmod_harness.cli.commands.init import _packages
from kmod_harness.cli.parser import COMMANDS
from kmod_harness.host.resources import fragment_names
from kmod_harness.klog.outcome import PRECEDENCE, Outcome
from kmod_harness.nightly.matrix import Matrix
from kmod_harness.report import bundle
from kmod_harness.repository.first_files import ci_recipe
from shared.checkout import ROOT

DOCS = ROOT / "harness/docs"


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text()


@pytest.mark.parametrize("forge", ["github", "gitlab"])
def test_the_ci_recipe_is_the_one_that_init_writes(forge: str) -> None:
    recipes = re.findall(r"^```yaml\n(.*?)^```", page("getting-started"), re.MULTILINE | re.DOTALL)
    written = ci_recipe(forge, "debian", _packages("debian", "kmod-harness"), "kmod-harness")
    assert written in recipes


def test_the_exit_statuses_are_those_of_the_outcomes() -> None:
    rows = re.findall(r"^\| (\d) \| `([\w-]+)` \|", page("running"), re.MULTILINE)
    assert {name: int(status) for status, name in rows} == {
        outcome.value: int(outcome.exit_status) for outcome in Outcome
    }


@pytest.mark.parametrize(
    ("name", "before"), [("running", "the worst decides: "), ("nightly", "is the first of these")]
)
def test_the_worst_comes_first(name: str, before: str) -> None:
    told = page(name).partition(before)[2].partition(". ")[0].partition(".\n")[0]
    statuses = [int(number) for number in re.findall(r"\b\d\b", told)]
    assert statuses == [int(outcome.exit_status) for outcome in PRECEDENCE]


def test_every_outcome_of_a_test_is_one() -> None:
    table = page("writing-tests").partition("\n## What fails a test\n")[2].partition("\n## ")[0]
    named = re.findall(r" \| `([\w-]+)` \|$", table, re.MULTILINE)
    assert set(named) == {outcome.value for outcome in Outcome} - {"passed", "nothing-tested"}


def test_every_command_is_named() -> None:
    table = page("running").partition("\n## The other commands\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named | {"run"} == set(COMMANDS)


def test_every_fragment_is_named() -> None:
    table = page("kernels-and-images").partition("\n### Fragments\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row)} == set(fragment_names())


def test_every_file_of_a_bundle_is_named() -> None:
    table = page("when-it-breaks").partition("\n## The bundle\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([\w./]+)`", row)}
    assert bundle.__doc__ is not None
    written = set(re.findall(r"\b[\w.]+\.(?:json|log|config|zst|sh)\b", bundle.__doc__))
    assert written
    assert written <= named
    assert {"modules/", "files/", "shell.txt", "agent.txt", "interrogation.txt"} <= named


def test_the_nightlys_matrix_is_the_default_one() -> None:
    matrix = Matrix()
    text = " ".join(page("nightly").split())
    assert f"default {' and '.join(f'`{name}`' for name in matrix.kernels)}" in text
    assert f"default {' and '.join(map(str, matrix.cpus))}" in text
