"""What every row of the table of headers keeps to."""

from __future__ import annotations

import pytest

from kmod_harness.klog.header_table import ROWS, Row
from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.records import parse_console
from unit.klog.recorded_case import CASES, read_case

rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}-{row.pattern[:30]}")


@pytest.fixture(scope="module")
def lines() -> list[str]:
    cases = [read_case(path) for path in sorted(CASES.glob("*.txt"))]
    return [record.text for case in cases if case.kept for record in parse_console(case.kept)]


@rows
def test_a_line_that_a_row_matches_holds_one_of_its_words(row: Row, lines: list[str]) -> None:
    found = [line for line in lines if row.compiled.search(line)]
    assert [line for line in found if not any(word in line for word in row.words)] == []


@rows
def test_a_row_has_a_title_and_a_place_in_the_kernel(row: Row) -> None:
    assert row.label or "label" in row.compiled.groupindex
    assert row.files and all(file.endswith((".c", ".h")) for file in row.files.split())


def test_each_kind_has_a_row() -> None:
    assert {row.kind for row in ROWS} == set(SplatKind)
