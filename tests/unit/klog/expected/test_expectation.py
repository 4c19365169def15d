"""Which reports an expectation means, and which it does not."""

from __future__ import annotations

import pytest

from kmod_harness.klog.expected.expectation import (
    Expectation,
    Report,
    are_expected,
    killed_by,
    parse_expectation,
    that_did_not_come,
)
from kmod_harness.klog.kinds import SplatKind

KNOWN = Report("WARNING", "WARNING in harmless", "harmless", 40)
FRESH = Report("WARNING", "WARNING in fresh", "fresh", 40)
OOPS = Report("OOPS", "NULL pointer dereference in t_write", "t_write", 41)


def expected(*texts: str) -> list[Expectation]:
    return [parse_expectation(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "kind", "pattern"),
    [
        ("WARNING", SplatKind.WARNING, ""),
        ("soft-lockup", SplatKind.SOFT_LOCKUP, ""),
        ("WARNING:fresh", SplatKind.WARNING, "fresh"),
        ("oops: NULL pointer dereference", SplatKind.OOPS, "NULL pointer dereference"),
        ("KASAN:KASAN: use-after-free in *", SplatKind.KASAN, "KASAN: use-after-free in *"),
    ],
)
def test_what_is_written_is_a_kind_and_a_pattern(text: str, kind: SplatKind, pattern: str) -> None:
    assert parse_expectation(text) == Expectation(kind, pattern)


def test_an_unknown_kind_is_none() -> None:
    with pytest.raises(ValueError, match="NOISE"):
        parse_expectation("noise:x")


def test_a_kind_alone_hides_no_second_report_of_another_function() -> None:
    assert are_expected([KNOWN, FRESH, KNOWN], expected("WARNING")) == [True, False, True]
    assert are_expected([KNOWN, FRESH], expected("WARNING", "WARNING")) == [True, True]


def test_a_report_that_names_nobody_goes_with_the_first() -> None:
    nameless = Report("OTHER", "interrupt line disabled")
    blamed = Report("OTHER", "irq N: nobody cared in in", "in")
    assert are_expected([blamed, nameless], expected("OTHER")) == [True, True]
    assert are_expected([nameless], []) == [False]


@pytest.mark.parametrize(
    ("pattern", "means"),
    [
        ("harmless", True),
        ("WARNING in harmless", True),
        ("WARNING in *", True),
        ("harm*", True),
        ("harm", False),
        ("fresh", False),
    ],
)
def test_a_pattern_is_a_function_words_of_the_title_or_a_shell_pattern(pattern: str, means: bool) -> None:
    assert are_expected([KNOWN], expected(f"WARNING:{pattern}")) == [means]


def test_a_pattern_means_its_kind_alone() -> None:
    assert are_expected([KNOWN, OOPS], expected("OOPS:*")) == [False, True]


def test_a_named_report_leaves_the_kind_alone_to_another() -> None:
    assert are_expected([KNOWN, FRESH], expected("WARNING:harmless", "WARNING")) == [True, True]


def test_what_no_report_meets_did_not_come() -> None:
    wanted = expected("WARNING", "WARNING:fresh", "OOPS", "OOPS")
    assert [str(e) for e in that_did_not_come([KNOWN], wanted)] == ["WARNING:fresh", "OOPS"]
    assert that_did_not_come([KNOWN, FRESH, OOPS], wanted) == []


@pytest.mark.parametrize(
    ("pid", "reports", "was"),
    [(41, [OOPS], True), (99, [OOPS], False), (None, [OOPS], True), (41, [KNOWN], False), (41, [], False)],
)
def test_a_process_was_killed_by_the_oops_that_names_it(
    pid: int | None, reports: list[Report], was: bool
) -> None:
    assert killed_by(pid, reports) is was


def test_a_report_that_does_not_tell_whose_it_is_may_be_anybodys() -> None:
    assert killed_by(41, [Report("OOPS", "page fault")])
