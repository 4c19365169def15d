"""What an allowance excuses, how often, and until when."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.klog.expected.allowance import (
    Allowance,
    allowing,
    are_excused,
    parse_allowance,
    that_came_too_often,
    that_matched_nothing,
)
from kmod_harness.klog.expected.expectation import Report, parse_expectation
from kmod_harness.klog.kinds import SplatKind

KNOWN = Report("WARNING", "WARNING in my_probe", "my_probe", 40)
FRESH = Report("WARNING", "WARNING in fresh", "fresh", 40)
OOPS = Report("OOPS", "NULL pointer dereference in my_probe", "my_probe", 41)


def test_all_fields_are_read() -> None:
    text = "warning:my_probe;title=WARNING in *; function=my_*;times=2; reason=a; b"
    text += ";link=x://y?a=b;expires=2027-03-01"
    assert parse_allowance(text) == Allowance(
        SplatKind.WARNING,
        "my_probe",
        title="WARNING in *",
        function="my_*",
        times=2,
        reason="a; b",
        link="x://y?a=b",
        expires=date(2027, 3, 1),
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("noise:x", "no kind 'noise'"),
        ("", "no kind ''"),
        ("BUG; times=0", "times takes a number above 0"),
        ("BUG; times=often", "times takes"),
        ("BUG; expires=soon", "expires takes a day"),
        ("BUG; expires=2027-02-30", "expires takes a day"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_allowance(text)


words = st.text(st.sampled_from("ab*_ "), max_size=6).map(str.strip)


@given(
    st.builds(
        Allowance,
        kind=st.sampled_from(SplatKind),
        pattern=words,
        title=words,
        function=words,
        times=st.none() | st.integers(1, 99),
        reason=words,
        link=words,
        expires=st.none() | st.dates(),
    )
)
def test_an_allowance_is_read_as_it_is_written(allowance: Allowance) -> None:
    assert parse_allowance(str(allowance)) == allowance


@pytest.mark.parametrize(
    ("text", "excused"),
    [
        ("WARNING", [True, True, False]),
        ("WARNING:my_probe", [True, False, False]),
        ("WARNING; function=fr*", [False, True, False]),
        ("WARNING; title=my_probe", [True, False, False]),
        ("WARNING:my_probe; function=fresh", [False, False, False]),
        ("OOPS", [False, False, True]),
        ("KASAN", [False, False, False]),
    ],
)
def test_only_what_is_meant_is_excused(text: str, excused: list[bool]) -> None:
    assert are_excused([KNOWN, FRESH, OOPS], (), [parse_allowance(text)]) == excused


def test_one_that_comes_more_often_than_allowed_is_not_excused() -> None:
    allowed = [parse_allowance("WARNING:my_probe; times=2")]
    assert are_excused([KNOWN, KNOWN, FRESH, KNOWN], (), allowed) == [True, True, False, False]
    assert that_came_too_often([KNOWN, KNOWN, KNOWN], allowed) == allowed
    assert that_came_too_often([KNOWN, KNOWN, FRESH], allowed) == []


def test_what_is_expected_uses_up_no_allowance() -> None:
    expected = [parse_expectation("WARNING:my_probe")]
    allowed = [parse_allowance("WARNING; times=1")]
    assert allowing([KNOWN, FRESH], expected, allowed) == [None, allowed[0]]
    assert are_excused([KNOWN, FRESH], expected, allowed) == [True, True]


def test_what_nothing_matched_is_told_once() -> None:
    one, other = parse_allowance("WARNING:my_probe"), parse_allowance("BUG")
    assert that_matched_nothing([KNOWN], [one, other, other]) == [other]
    assert that_matched_nothing([], []) == []


def test_an_allowance_ends_with_its_last_day() -> None:
    allowance = parse_allowance("BUG; expires=2027-03-01")
    days = [date(2027, 2, 28), date(2027, 3, 1), date(2027, 3, 2)]
    assert [allowance.has_expired(day) for day in days] == [False, False, True]
    assert not parse_allowance("BUG").has_expired(days[2])
