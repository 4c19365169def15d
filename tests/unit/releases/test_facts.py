"""The table of facts by release: what it says of itself is true, and no other code compares releases."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmod_harness.errors import Misuse
from kmod_harness.releases import facts
from kmod_harness.releases.fact import Fact, NumberFact
from kmod_harness.releases.proven import note_of_newer, table, unproven
from kmod_harness.releases.release import in_words, release_pair
from shared.checkout import ROOT

PACKAGE = ROOT / "harness/kmod_harness"
NEWER = (99, 1)


@pytest.mark.parametrize("release", facts.PROVEN, ids=in_words)
def test_every_fact_was_looked_at_in_each_proven_release(release: tuple[int, int]) -> None:
    """A release that joins PROVEN is listed here with each fact that nobody has looked at in it."""
    assert unproven(release) == ()


def test_of_a_release_that_nobody_has_looked_at_every_fact_is_unproven() -> None:
    assert unproven(NEWER) == tuple(table())


def test_a_fact_is_proven_on_no_release_that_the_table_does_not_claim() -> None:
    assert {name for name, fact in table().items() if fact.proven_on - set(facts.PROVEN)} == set()


def test_a_fact_holds_from_its_first_release_to_its_last() -> None:
    fact = facts.CALLS_COUNTED_IN_ALTERNATIVES
    assert [fact.holds(release) for release in ((6, 1), (6, 2), (6, 12), (7, 1), (7, 2), (7, 3))] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_number_that_nobody_has_looked_up_is_refused_with_what_is_known() -> None:
    with pytest.raises(Misuse, match=r"99\.1") as refused:
        facts.ITS_FEATURE.of(NEWER)
    assert "6.1, 6.12 and 7.2" in (refused.value.evidence or "")


@pytest.mark.parametrize("name", table())
def test_who_is_said_to_ask_for_a_fact_does(name: str) -> None:
    asking = {path for path in _sources() if f"facts.{name}." in path.read_text()}
    said = [PACKAGE / word for word in table()[name].used_by.split()]
    assert asking, "nobody asks for it"
    assert {path for path in asking if not any(path.is_relative_to(place) for place in said)} == set()
    assert [place for place in said if not any(path.is_relative_to(place) for path in asking)] == []


@pytest.mark.parametrize("entry", facts.READ, ids=lambda entry: Path(entry[2]).stem)
def test_what_is_read_is_read_by_a_file_that_is_there(entry: tuple[str, str, str]) -> None:
    assert (PACKAGE / entry[2]).is_file()


def test_no_other_code_orders_releases() -> None:
    """Whether something holds in a release is asked of the table: `release >= (6, 12)` belongs into it."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path in _sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare) and _orders_releases(node)
    ]
    assert found == []


def _sources() -> Iterator[Path]:
    return (path for path in PACKAGE.rglob("*.py") if path.parent.name != "releases")


def _orders_releases(node: ast.Compare) -> bool:
    orders = any(isinstance(operator, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)) for operator in node.ops)
    known = any(
        isinstance(one, ast.Tuple) or (isinstance(one, ast.Name) and one.id.isupper())
        for one in (node.left, *node.comparators)
    )
    return orders and known and "release" in ast.unparse(node)


def test_a_kernel_newer_than_all_proven_is_told_in_one_line() -> None:
    (line,) = note_of_newer("99.1.7-mine", "6.1.192", "99.1.8", "7.2.13", "6.18.1", "no release")

    newest = in_words(max(facts.PROVEN))
    assert line.startswith(f"Linux 99.1 is newer than {newest}, the newest release that was proven; ")
    assumed, _, refused = line.partition("; not compared: ")
    for fact in table().values():
        assert fact.part in (assumed if fact.assumed else refused)


@pytest.mark.parametrize("release", [".".join(map(str, pair)) + ".1" for pair in facts.PROVEN])
def test_nothing_is_told_of_a_proven_release(release: str) -> None:
    assert list(note_of_newer(release)) == []


def test_every_row_of_the_table_is_a_fact_or_a_number() -> None:
    assert {type(fact) for fact in table().values()} == {Fact, NumberFact}


def test_a_text_that_is_no_release_is_refused() -> None:
    assert release_pair("6.12-rc1") == (6, 12)
    with pytest.raises(Misuse, match="is no release"):
        release_pair("mine")
