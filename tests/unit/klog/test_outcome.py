"""Outcomes: which wins, which exit status and exception belong to each."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.errors import GuestHang, KernelOops, KernelPanic, KernelWarning
from kmod_harness.klog.outcome import Outcome, error_for, outcome_of, worst
from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import find_splats

WARNING = "WARNING: CPU: 0 PID: 45 at drivers/x.c:12 x_init+0x10/0x20 [x]"
OOPS = "BUG: kernel NULL pointer dereference, address: 0000000000000008"
PANIC = "Kernel panic - not syncing: Fatal exception"
HUNG = "INFO: task cat:77 blocked for more than 120 seconds."


def splats(*lines: str):
    return find_splats(parse_console("".join(f"[    1.000000] {line}\n" for line in lines)))


@pytest.mark.parametrize(
    ("better", "worse"),
    list(
        itertools.pairwise(
            [Outcome.PASSED, Outcome.FAILED, Outcome.HANG, Outcome.SPLAT, Outcome.PANIC, Outcome.QEMU_DIED]
        )
    ),
)
def test_the_designs_precedence_holds_for_each_pair(better: Outcome, worse: Outcome) -> None:
    assert worst([better, worse]) is worse
    assert worst([worse, better]) is worse


def test_of_nothing_the_outcome_is_that_nothing_was_tested() -> None:
    assert worst([]) is Outcome.NOTHING_TESTED


@given(st.lists(st.sampled_from(Outcome), min_size=1))
def test_the_worst_is_one_of_them_in_any_order(outcomes: list[Outcome]) -> None:
    assert worst(outcomes) in outcomes
    assert worst(outcomes) is worst(sorted(outcomes))


def test_exit_statuses_are_those_of_the_command_line() -> None:
    assert {outcome.value: int(outcome.exit_status) for outcome in Outcome} == {
        "passed": 0,
        "failed": 1,
        "setup-error": 2,
        "splat": 3,
        "panic": 4,
        "hang": 5,
        "boot-failed": 6,
        "qemu-died": 7,
        "nothing-tested": 8,
        "log-incomplete": 9,
    }


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        ((), Outcome.PASSED),
        ((WARNING,), Outcome.SPLAT),
        ((OOPS,), Outcome.SPLAT),
        ((HUNG,), Outcome.HANG),
        ((HUNG, WARNING), Outcome.SPLAT),
        ((OOPS, PANIC), Outcome.PANIC),
    ],
)
def test_the_outcome_of_a_log_is_that_of_its_worst_splat(lines: tuple[str, ...], outcome: Outcome) -> None:
    assert outcome_of(splats(*lines)) is outcome


@pytest.mark.parametrize(
    ("line", "error"),
    [(WARNING, KernelWarning), (OOPS, KernelOops), (PANIC, KernelPanic), (HUNG, GuestHang)],
)
def test_a_splat_becomes_the_exception_of_its_kind_with_its_text(line: str, error: type[Exception]) -> None:
    (splat,) = splats(line)
    raised = error_for(splat)
    assert type(raised) is error
    assert line in str(raised)
    assert raised.message.startswith(splat.kind.value)
