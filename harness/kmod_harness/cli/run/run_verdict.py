"""The verdict of a run: one outcome from its errors, splats and the command's status. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kmod_harness.errors import BootFailed, GuestHang, KernelPanic, KernelSplat
from kmod_harness.klog.expected.allowance import Allowance, are_excused
from kmod_harness.klog.expected.expectation import (
    Expectation,
    Report,
    killed_by,
    report_of,
    that_did_not_come,
)
from kmod_harness.klog.kinds import HANG_KINDS, SplatKind
from kmod_harness.klog.ktap import KtapResult, TestStatus
from kmod_harness.klog.outcome import Outcome, outcome_of, outcome_of_error, worst
from kmod_harness.klog.splats import Splat

#: kselftest's way to say "skipped" (tools/testing/selftests/kselftest.h: KSFT_SKIP). Others: automake 77,
#: LTP 32.
SKIP_STATUSES = frozenset((4,))


@dataclass(frozen=True)
class RunObservations:
    """The events of a run.

    status: the command's exit status, negative for a signal, None: it did not run. pid: the command's.
    how: how it ended, in words. skip_statuses: those by which it says that it tested nothing.
    """

    errors: Sequence[BaseException] = ()
    splats: Sequence[Splat] = ()
    cases: Sequence[KtapResult] = ()
    expected: Sequence[Expectation] = ()
    allowed: Sequence[Allowance] = ()
    has_command: bool = False
    status: int | None = None
    pid: int | None = None
    how: str = ""
    skip_statuses: frozenset[int] = SKIP_STATUSES

    @property
    def reports(self) -> list[Report]:
        """The splats, as expectations look at them."""
        return [report_of(splat) for splat in self.splats]

    @property
    def excused_reports(self) -> list[Report]:
        """Those that were expected or allowed."""
        flags = are_excused(self.reports, self.expected, self.allowed)
        return [report for report, flag in zip(self.reports, flags, strict=True) if flag]


@dataclass(frozen=True)
class RunVerdict:
    """The outcome and, in a few words, why."""

    outcome: Outcome
    reason: str


def run_verdict(seen: RunObservations) -> RunVerdict:
    """Returns the worst of everything that counts, in the order of docs/design.md, decision 9."""
    failed_boot = [error for error in seen.errors if isinstance(error, BootFailed)]
    if failed_boot:
        # the panic that ended it is part of it, not another outcome
        return RunVerdict(Outcome.BOOT_FAILED, str(failed_boot[0].message))
    counted = [*_of_splats(seen), *_of_errors(seen), *_of_command(seen), *_of_cases(seen)]
    if seen.has_command and seen.status is None and not counted:
        counted.append(RunVerdict(Outcome.FAILED, "the command was not run"))
    outcome = worst([Outcome.PASSED, *(verdict.outcome for verdict in counted)])
    return next((verdict for verdict in counted if verdict.outcome is outcome), RunVerdict(outcome, ""))


def excused_that_came(seen: RunObservations) -> frozenset[SplatKind]:
    """The kinds that were expected or allowed, and came."""
    return frozenset(SplatKind(report.kind) for report in seen.excused_reports)


def _of_splats(seen: RunObservations) -> list[RunVerdict]:
    verdicts = [
        RunVerdict(outcome_of([splat]), splat.title)
        for splat, is_excused in zip(
            seen.splats, are_excused(seen.reports, seen.expected, seen.allowed), strict=True
        )
        if not is_excused
    ]
    for missing in that_did_not_come(seen.reports, seen.expected):
        verdicts.append(RunVerdict(Outcome.FAILED, f"the expected {missing} did not come"))
    return verdicts


def _of_cases(seen: RunObservations) -> list[RunVerdict]:
    failed = [case.name for case in seen.cases if case.status is TestStatus.FAILED]
    if not failed:
        return []
    others = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return [RunVerdict(Outcome.FAILED, f"KUnit: {failed[0]}{others} failed")]


def _of_errors(seen: RunObservations) -> list[RunVerdict]:
    return [
        RunVerdict(outcome_of_error(error), str(getattr(error, "message", error)).splitlines()[0])
        for error in seen.errors
        if not _is_explained(error, seen)
    ]


def _is_explained(error: BaseException, seen: RunObservations) -> bool:
    """Whether the splats say all that this error says: an expected one must not count as a failure."""
    from kmod_harness.errors import ProcessKilled  # lazy

    if isinstance(error, KernelPanic):
        return SplatKind.PANIC in excused_that_came(seen)
    if isinstance(error, GuestHang):
        return bool(excused_that_came(seen) & HANG_KINDS)
    if isinstance(error, KernelSplat):
        return bool(seen.splats)
    if isinstance(error, ProcessKilled):
        return killed_by(error.pid, seen.reports)
    return False


def _of_command(seen: RunObservations) -> list[RunVerdict]:
    status = seen.status
    if status is None or status == 0:
        return []
    if status in seen.skip_statuses:
        return [RunVerdict(Outcome.NOTHING_TESTED, f"the command skipped (status {status})")]
    if status < 0 and killed_by(seen.pid, seen.excused_reports):
        return []
    if seen.how in ("", f"exit status {status}"):
        return [RunVerdict(Outcome.FAILED, "the command failed")]
    verb = "was" if status < 0 else "failed:"
    return [RunVerdict(Outcome.FAILED, f"the command {verb} {seen.how}")]
