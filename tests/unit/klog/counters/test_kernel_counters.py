"""The kernel's own counts against the reports of its log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.klog.counters.kernel_counters import KernelCounters, number_in, unreported
from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import Splat, find_splats

OUT_OF_TREE = 4096
WARNED, DIED, BAD_PAGE, SOFT_LOCKUP, MACHINE_CHECK = 1 << 9, 1 << 7, 1 << 5, 1 << 14, 1 << 4
WARNING = "WARNING: CPU: 0 PID: 45 at drivers/x.c:12 x_init+0x10/0x20 [x]"
OOPS = "Oops: 0002 [#1] PREEMPT SMP NOPTI"
SLEEPS = "BUG: sleeping function called from invalid context at x.c:3"


def splats(*lines: str) -> tuple[Splat, ...]:
    body = "[    1.000000] CPU: 0 PID: 45 Comm: sh Not tainted 6.1.0 #1"
    return find_splats(parse_console("".join(f"[    1.000000] {line}\n{body}\n" for line in lines)))


@pytest.mark.parametrize(
    ("flag", "clause"),
    [
        (WARNED, "warned (taint flag W)"),
        (DIED, "oopsed (taint flag D)"),
        (BAD_PAGE, "found a bad page or object (taint flag B)"),
        (SOFT_LOCKUP, "found a soft lockup (taint flag L)"),
        (MACHINE_CHECK, "met a machine check (taint flag M)"),
    ],
)
def test_a_flag_that_no_report_covers_is_told(flag: int, clause: str) -> None:
    assert unreported(KernelCounters(OUT_OF_TREE | flag), ()) == (clause,)


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        (WARNED, WARNING),
        (WARNED, SLEEPS),
        (DIED, OOPS),
        (BAD_PAGE, "BUG: Bad page state in process sh  pfn:1234"),
        (SOFT_LOCKUP, "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [sh:45]"),
    ],
)
def test_a_flag_is_covered_by_a_report_that_sets_it(flag: int, line: str) -> None:
    assert unreported(KernelCounters(OUT_OF_TREE | flag), splats(line)) == ()


def test_a_flag_is_covered_by_no_report_of_another_kind() -> None:
    assert unreported(KernelCounters(WARNED | DIED), splats(WARNING)) == ("oopsed (taint flag D)",)


def test_flags_that_are_no_trouble_need_no_report() -> None:
    proprietary_forced_unsigned_staging_test = 1 | 2 | 8192 | 1024 | 1 << 18
    assert unreported(KernelCounters(proprietary_forced_unsigned_staging_test), ()) == ()


def test_a_second_warning_whose_report_is_lost_is_told_by_its_count() -> None:
    assert unreported(KernelCounters(WARNED, warnings=2), splats(WARNING)) == (
        "warned 2 times, of which 1 is in its log",
    )
    assert unreported(KernelCounters(WARNED, warnings=2), splats(WARNING, WARNING)) == ()


def test_a_second_oops_whose_report_is_lost_is_told_by_its_count() -> None:
    assert unreported(KernelCounters(DIED, oopses=2), splats(OOPS)) == (
        "oopsed 2 times, of which 1 is in its log",
    )
    # two that were printed at once may be read as one: its numbers tell
    assert unreported(KernelCounters(DIED, oopses=2), splats(OOPS, OOPS.replace("#1", "#2"))) == ()


def test_a_count_is_told_once_where_its_flag_is() -> None:
    assert unreported(KernelCounters(WARNED, warnings=1, oopses=0), ()) == ("warned (taint flag W)",)


def test_a_flag_that_a_module_set_itself_needs_no_report() -> None:
    assert unreported(KernelCounters(WARNED | DIED, warnings=0, oopses=0), ()) == ()


def test_a_kernel_that_does_not_tell_is_believed() -> None:
    assert unreported(KernelCounters(), ()) == ()


@given(st.integers(0, 1 << 20), st.none() | st.integers(1, 3), st.none() | st.integers(1, 3))
def test_without_reports_every_count_is_told(tainted: int, warnings: int | None, oopses: int | None) -> None:
    told = unreported(KernelCounters(tainted, warnings, oopses), ())
    trouble = tainted & (WARNED | DIED | BAD_PAGE | SOFT_LOCKUP | MACHINE_CHECK)
    assert bool(told) == bool(trouble or warnings or oopses)


@pytest.mark.parametrize(
    ("content", "number"), [(b"4608\n", 4608), (b"0", 0), (b"", None), (b"-1\n", None), (b"x", None)]
)
def test_a_number_of_proc(content: bytes, number: int | None) -> None:
    assert number_in(content) == number
