"""The list of what the kernel's report-printing functions print, against the header table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.klog.headers import header_of
from kmod_harness.klog.unnamed.printed_formats import (
    FILE,
    URGENT,
    PrintedFormat,
    read_formats,
    urgent_reports,
)

ROWS = read_formats(FILE.read_text())
WORDS = ("quiet", "part", "panic")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.path}-{row.text[:30]}")
def test_a_row_of_the_table_takes_what_the_list_says_it_takes(row: PrintedFormat) -> None:
    assert (header_of(row.line) is not None) == (row.verdict == "row"), row.line


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.path}-{row.text[:30]}")
def test_whatever_is_no_report_has_a_reason(row: PrintedFormat) -> None:
    if row.verdict not in ("row", "report"):
        word, _, reason = row.verdict.partition(": ")
        assert word in WORDS and len(reason) > 8


def test_each_release_and_many_files_are_listed() -> None:
    assert {release for row in ROWS for release in row.releases.split(",")} == {"6.1", "6.12", "7.2"}
    assert len({row.path for row in ROWS}) > 70


@pytest.mark.parametrize("row", urgent_reports(), ids=lambda row: row.text[:40])
def test_a_report_of_one_line_is_urgent_and_told_from_others(row: PrintedFormat) -> None:
    assert row.level is not None and row.level <= URGENT
    assert row.is_telling
    assert row.pattern.match(row.line)


def test_a_format_becomes_a_pattern() -> None:
    row = PrintedFormat("report", 2, "6.1", "x.c", "100%% of %-10s at %#lx: %pS, %*pbl\t(%c)")
    assert row.pattern.match("100% of a b        at 0x12: f+0x1/0x2 [m], 0-3\t(z)")
    assert not row.pattern.match("99% of a b        at 0x12: f+0x1/0x2 [m], 0-3\t(z)")
    assert row.pattern.match(row.line)


@given(st.text(alphabet="abc%dsxp.*l-0 [(\\", max_size=30), st.text(max_size=60))
def test_any_format_matches_or_not(text: str, line: str) -> None:
    row = PrintedFormat("report", 1, "6.1", "x.c", text)
    assert row.pattern.match(line) is None or row.pattern.match(line)[0] == line  # type: ignore[index]
    assert isinstance(row.line, str)


def test_a_comment_and_an_empty_line_are_no_rows() -> None:
    assert read_formats("# a\n\nrow\t-\t6.1\tx.c\tBUG: a\\tb\n") == (
        PrintedFormat("row", None, "6.1", "x.c", "BUG: a\tb"),
    )
