"""What every row of the table of headers keeps to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmod_harness.klog.header_table import ROWS, Row
from kmod_harness.klog.kinds import SplatKind

rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}-{row.pattern[:30]}")


@rows
@given(data=st.data())
@settings(max_examples=20)
def test_a_line_that_a_row_matches_holds_one_of_its_words(row: Row, data: st.DataObject) -> None:
    line = data.draw(st.from_regex(row.compiled))
    assert any(word in line for word in row.words)


@rows
def test_a_row_has_a_title_and_a_place_in_the_kernel(row: Row) -> None:
    assert row.label or "label" in row.compiled.groupindex
    assert row.files and all(file.endswith((".c", ".h", ".rs")) for file in row.files.split())


def test_each_kind_has_a_row() -> None:
    assert {row.kind for row in ROWS} == set(SplatKind)
