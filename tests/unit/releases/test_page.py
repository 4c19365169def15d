"""The page for users shows the table of facts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kmod_harness.releases.fact import Fact, NumberFact
from kmod_harness.releases.facts import PROVEN, READ
from kmod_harness.releases.proven import table
from kmod_harness.releases.release import in_words
from shared.checkout import ROOT

PAGE = ROOT / "harness/docs/proven-kernels.md"
BEGIN = "<!-- from harness/kmod_harness/releases/facts.py, by `pytest tests/unit/releases --update` -->\n"
END = "<!-- end -->\n"


def test_the_page_shows_the_table(pytestconfig: pytest.Config) -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    shown, _, after = rest.partition(END)
    due = "\n{}\n\n".format("\n".join(_lines()))
    if pytestconfig.getoption("update"):
        PAGE.write_text(f"{before}{BEGIN}{due}{END}{after}")
        shown = due
    assert shown == due, "the table is right? pytest tests/unit/releases --update"


@pytest.mark.parametrize("kernel", ["minimal", "debian"])
def test_each_proven_release_has_its_row_and_a_cell_for_each_feature(kernel: str) -> None:
    header, *rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [row for row in rows if row.startswith(f"| `{kernel}")]

    assert len(rows) == len(PROVEN)
    for release, row in zip(PROVEN, rows, strict=True):
        assert in_words(release) in row.split("|")[1]
        assert row.count("|") == header.count("|")


def _lines() -> Iterator[str]:
    yield "| what holds | in Linux | by | proven on | on newer ones |"
    yield "|---|---|---|---|---|"
    for fact in table().values():
        proven = in_words(*sorted(fact.proven_on))
        then = "assumed" if fact.assumed else "not compared"
        yield f"| {fact.what} | {_releases(fact)} | {fact.source} | {proven} | {then} |"
    yield ""
    yield "What is read from the kernel instead, and so needs no row:"
    yield ""
    yield "| what differs | is read from |"
    yield "|---|---|"
    for what, where, _ in READ:
        yield f"| {what} | {where} |"


def _releases(fact: Fact | NumberFact) -> str:
    if isinstance(fact, NumberFact):
        return ", ".join(f"{in_words(release)}: {number}" for release, number in fact.numbers.items())
    until = f", before {in_words(fact.until)}" if fact.until else " on"
    return f"from {in_words(fact.since)}{until}"
