"""KUnit's results, as a kernel log carries them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.klog.ktap import KtapResult, TestStatus, ktap_results
from kmod_harness.klog.records import parse_console

KUNIT = """\
chardev: loading out-of-tree module taints kernel.
KTAP version 1
1..1
    KTAP version 1
    # Subtest: demo
    1..3
    ok 1 demo_adds
    # demo_divides: EXPECTATION FAILED at demo.c:12
    Expected 1 == 2
    not ok 2 demo_divides
    ok 3 demo_sleeps # SKIP needs a clock
# demo: pass:1 fail:1 skip:1 total:3
# Totals: pass:1 fail:1 skip:1 total:3
not ok 1 demo
"""


def results(text: str) -> tuple[KtapResult, ...]:
    return ktap_results(parse_console("".join(f"[    1.000000] {line}\n" for line in text.splitlines())))


def test_each_case_of_a_suite_counts_and_the_suites_own_line_does_not() -> None:
    adds, divides, sleeps = results(KUNIT)

    assert (adds.name, adds.status) == ("demo/demo_adds", TestStatus.PASSED)
    assert (divides.name, divides.status) == ("demo/demo_divides", TestStatus.FAILED)
    assert divides.diagnostics == ("demo_divides: EXPECTATION FAILED at demo.c:12",)
    assert (sleeps.status, sleeps.reason) == (TestStatus.SKIPPED, "needs a clock")


def test_other_lines_in_between_change_nothing() -> None:
    noise = "\n".join(f"{line}\ntsc: Refined TSC clocksource calibration" for line in KUNIT.splitlines())
    assert results(noise) == results(KUNIT)


def test_a_suite_that_dies_is_no_success() -> None:
    *_, last = results("\n".join(KUNIT.splitlines()[:7]))
    assert last.status is TestStatus.FAILED
    assert last.reason == "1 of 1 never ended"
    assert any(r.name == "demo/(missing)" and "2 of 3" in r.reason for r in results(KUNIT[:190]))


def test_a_log_without_ktap_has_no_tests() -> None:
    assert results("ok 1 said a driver\nnot ok 2 said another") == ()


def test_tests_without_a_suite_count_themselves() -> None:
    assert [r.name for r in results("TAP version 13\n1..2\nok 1 - first\nok 2 - second\n")] == [
        "first",
        "second",
    ]


PARAMETERS = """\
KTAP version 1
1..1
    KTAP version 1
    # Subtest: dma
    1..1
        KTAP version 1
        # Subtest: overrun
        ok 1 channel #1
        not ok 2 channel #2
        ok 3 broadcast
    # overrun: pass:2 fail:1 skip:0 total:3
    not ok 1 overrun
# Totals: pass:2 fail:1 skip:0 total:3
not ok 1 dma
"""


def test_a_number_sign_is_a_character_of_a_name() -> None:
    found = results(PARAMETERS)
    assert [(r.name, r.status) for r in found] == [
        ("dma/overrun/channel #1", TestStatus.PASSED),
        ("dma/overrun/channel #2", TestStatus.FAILED),
        ("dma/overrun/broadcast", TestStatus.PASSED),
    ]
    assert [r.name for r in results("KTAP version 1\n1..2\nok 1 lane #1 opens\nok 2 simple")] == [
        "lane #1 opens",
        "simple",
    ]


def test_a_parent_that_fails_without_a_failed_child_fails_itself() -> None:
    log = "KTAP version 1\n1..1\n    # Subtest: s\n    1..2\n    ok 1 a\n    ok 2 b\nnot ok 1 s\n"
    *children, parent = results(log)
    assert [child.status for child in children] == [TestStatus.PASSED] * 2
    assert (parent.name, parent.status) == ("s", TestStatus.FAILED)
    assert parent.reason == "it failed, and none of its cases did"


def test_a_failure_two_levels_down_is_told_once() -> None:
    assert [r.name for r in results(PARAMETERS) if r.status is TestStatus.FAILED] == [
        "dma/overrun/channel #2"
    ]


@pytest.mark.parametrize(
    "line",
    ["not ok a", "not ok", "not ok - a", "not ok 1", "not ok 1 a", "not ok 2 b #2 fails", "not ok: a",
     "not ok #1", "not ok 1 a # TODO later", "not ok 1 a # TIMEOUT", "    not ok 1 a", "Bail out! no memory",
     "not ok 12345678 a"],
)  # fmt: skip
@pytest.mark.parametrize("version", ["KTAP version 1", "KTAP version 2", "TAP version 13", "TAP version 14"])
def test_whatever_begins_like_a_failure_is_one(version: str, line: str) -> None:
    assert [r.status for r in results(f"{version}\n{line}")] == [TestStatus.FAILED]


@pytest.mark.parametrize("line", ["not okay: the link is down", "ok, so far", "okay", "look: not ok 1"])
def test_other_words_are_no_results(line: str) -> None:
    assert results(f"KTAP version 1\n1..1\nok 1 a\n{line}") == results("KTAP version 1\n1..1\nok 1 a")


@pytest.mark.parametrize(
    "line", ["ok 1 a # SKIP none", "not ok 1 a # SKIP none", "ok a # skip none", "ok # SKIP none"]
)
def test_a_skipped_case_is_no_failure(line: str) -> None:
    (case,) = results(f"KTAP version 1\n{line}")
    assert (case.status, case.reason) == (TestStatus.SKIPPED, "none")


def test_a_plan_may_skip_all() -> None:
    assert [(r.status, r.reason) for r in results("KTAP version 1\n1..3 # SKIP no device")] == [
        (TestStatus.SKIPPED, "no device")
    ]


def test_totals_that_count_a_failure_that_was_not_read_are_one() -> None:
    log = (
        "KTAP version 1\n1..1\n    # Subtest: s\n    ok 1 a\n# Totals: pass:1 fail:1 skip:0 total:2\nok 1 s\n"
    )
    *_, last = results(log)
    assert (last.name, last.status) == ("s/(totals)", TestStatus.FAILED)
    assert last.reason == "1 failed by its totals, and none was read"


@given(st.lists(st.sampled_from(KUNIT.splitlines()), max_size=40), st.text(max_size=50))
def test_no_log_raises(lines: list[str], more: str) -> None:
    assert isinstance(results("\n".join([*lines, more])), tuple)
