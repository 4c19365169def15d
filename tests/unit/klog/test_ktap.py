"""KUnit's results, as a kernel log carries them."""

from __future__ import annotations

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


@given(st.lists(st.sampled_from(KUNIT.splitlines()), max_size=40), st.text(max_size=50))
def test_no_log_raises(lines: list[str], more: str) -> None:
    assert isinstance(results("\n".join([*lines, more])), tuple)
