"""The verdict of a test's phase: the machine's deeds against the test's own failure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import pytest

from kmod_harness.errors import (
    CheckFailed,
    GuestHang,
    KernelOops,
    KernelPanic,
    KernelWarning,
    MachineFailure,
    ProcessKilled,
)
from kmod_harness.klog.expected.allowance import are_excused
from kmod_harness.klog.expected.expectation import killed_by, that_did_not_come
from kmod_harness.klog.kinds import HANG_KINDS, SplatKind
from kmod_harness.klog.outcome import PRECEDENCE, Outcome, outcome_of_error, worst
from kmod_harness.leftovers.watch import LeftBehind
from kmod_harness.pytest_plugin.state import Case, State
from kmod_harness.pytest_plugin.watched import Incident


def conclude(
    state: State, case: Case, phase: str, raised: BaseException | None, *, is_verbose: bool
) -> BaseException | None:
    """Returns the failure of the phase, None when there is none.

    The worst thing the machine did wins over the test's own failure, and over what
    followed from it. is_verbose: QEMU's command line is part of the evidence.
    """
    incidents = state.judge(after_hang=isinstance(raised, GuestHang))
    case.late += [incident for incident in incidents if incident.culprit is not None]
    incidents = [incident for incident in incidents if incident.culprit is None]
    flags = case.expects(incidents)
    case.came += [incident.report for incident in incidents if incident.report is not None]
    unexpected = [one.error for one, is_expected in zip(incidents, flags, strict=True) if not is_expected]
    failure = _failure(case, phase, raised, unexpected)
    case.has_hung = case.has_hung or isinstance(failure, GuestHang)
    if failure is not None:
        told = next((incident for incident in incidents if incident.error is failure), None)
        case.where = told.where if told else ()
        case.sections += _sections(state, _log_in(failure, told), is_verbose=is_verbose)
    case.is_settled = case.is_settled or any(watched.is_damaged for watched in state.in_use)
    return failure


def outcome_of_phase(report: pytest.TestReport, error: BaseException | None) -> str:
    """Returns a phase's outcome; an expected failure (xfail) keeps the name of what happened."""
    if error is None:
        return Outcome.FAILED if report.failed else Outcome.PASSED
    if isinstance(error, pytest.skip.Exception):
        return Outcome.NOTHING_TESTED
    return outcome_of_error(error)


def worst_outcome(outcomes: Iterable[str]) -> str:
    return worst(map(Outcome, outcomes)).value


def _failure(
    case: Case, phase: str, raised: BaseException | None, unexpected: list[MachineFailure]
) -> BaseException | None:
    if phase == "teardown" and case.is_settled:
        return _what_remains(raised, case)
    if phase == "teardown" and case.has_hung:
        # what still hangs is told already: a process that cannot be ended, a module that cannot be unloaded
        unexpected = [error for error in unexpected if not isinstance(error, GuestHang)]
        if raised is not None and all(isinstance(error, GuestHang) for error in _leaves(raised)):
            raised = _what_remains(raised, case)
    left = [error for error in unexpected if isinstance(error, LeftBehind)]
    if left and left == unexpected and raised is not None and not _is_expected(raised, case):
        # an exit that forgets is no reason for what the test found
        case.sections += [("left behind", error.evidence) for error in left]
        return raised
    if unexpected:
        return min((*unexpected, *_own(raised)), key=lambda error: PRECEDENCE.index(outcome_of_error(error)))
    if raised is not None and not _is_expected(raised, case):
        return raised
    missing = [str(one) for one in that_did_not_come(case.came, case.expected)]
    if phase == "call" and missing:
        return CheckFailed(
            f"the expected {', '.join(missing)} did not come",
            advice="it must come before the test's end: what a module's exit provokes, by unloading it there",
        )
    return None


def _own(raised: BaseException | None) -> Iterator[MachineFailure]:
    """The test's own exception where it tells of the machine's end: no incident says more."""
    if isinstance(raised, MachineFailure):
        yield raised


def _is_expected(raised: BaseException, case: Case) -> bool:
    """Whether an exception is only how a splat that was expected or allowed, and came, met the test."""
    flags = are_excused(case.came, case.expected, case.allowed)
    came = [report for report, flag in zip(case.came, flags, strict=True) if flag]
    if isinstance(raised, ProcessKilled):
        return killed_by(raised.pid, came)
    return any(isinstance(raised, _met_as(report.kind)) for report in came)


def _met_as(kind: str) -> tuple[type[MachineFailure], ...]:
    if kind in (SplatKind.OOPS, SplatKind.BUG):
        return (KernelOops,)
    if kind == SplatKind.PANIC:
        return (KernelPanic,)
    return (GuestHang,) if kind in HANG_KINDS else (KernelWarning,)


def _what_remains(raised: BaseException | None, case: Case) -> BaseException | None:
    """Returns a teardown's failure, unless that only repeats that the guest is broken: a section says so."""
    if raised is None or not all(map(_is_the_harness_own, _leaves(raised))):
        return raised
    case.sections.append(("teardown on the broken guest", f"{type(raised).__name__}: {raised}"))
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _is_the_harness_own(error: BaseException) -> bool:
    """Whether an exception was raised by a call to the guest."""
    if isinstance(error, MachineFailure):
        return True
    trace: Any = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("kmod_harness.")


def _log_in(failure: BaseException, told: Incident | None) -> Collection[str]:
    """Returns the lines of the kernel log that the failure's own text holds."""
    if told is not None and told.log:
        return told.log
    return frozenset(failure.evidence.splitlines() if isinstance(failure, MachineFailure) else ())


def _sections(state: State, shown: Collection[str], *, is_verbose: bool) -> list[tuple[str, str]]:
    found = state.all_evidence()
    numbers = [f" (guest {index})" if len(found) > 1 else "" for index in range(1, len(found) + 1)]
    return [
        section
        for evidence, number in zip(found, numbers, strict=True)
        for section in evidence.sections(number, shown, is_verbose=is_verbose)
    ]
