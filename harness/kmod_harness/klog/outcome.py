"""The outcome of a test or a run, and which outcome wins when several things happened."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from kmod_harness.errors import (
    ExitStatus,
    GuestHang,
    KernelOops,
    KernelPanic,
    KernelSplat,
    KernelWarning,
    KmodHarnessError,
    MachineFailure,
)
from kmod_harness.klog.kinds import HANG_KINDS, SplatKind
from kmod_harness.klog.splats import Splat


class Outcome(StrEnum):
    """The outcome of a test or a run; the values appear in JSON and JUnit output."""

    PASSED = "passed"
    FAILED = "failed"
    SPLAT = "splat"
    PANIC = "panic"
    HANG = "hang"
    BOOT_FAILED = "boot-failed"
    QEMU_DIED = "qemu-died"
    SETUP_ERROR = "setup-error"
    NOTHING_TESTED = "nothing-tested"
    LOG_INCOMPLETE = "log-incomplete"

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status of the command line for this outcome."""
        return _EXIT_STATUS[self]


_EXIT_STATUS = {
    Outcome.PASSED: ExitStatus.PASSED,
    Outcome.FAILED: ExitStatus.FAILED,
    Outcome.SPLAT: ExitStatus.SPLAT,
    Outcome.PANIC: ExitStatus.PANIC,
    Outcome.HANG: ExitStatus.HANG,
    Outcome.BOOT_FAILED: ExitStatus.BOOT_FAILED,
    Outcome.QEMU_DIED: ExitStatus.QEMU_DIED,
    Outcome.SETUP_ERROR: ExitStatus.USAGE,
    Outcome.NOTHING_TESTED: ExitStatus.NOTHING_TESTED,
    Outcome.LOG_INCOMPLETE: ExitStatus.LOG_INCOMPLETE,
}

#: Worst first. QEMU's death to passed are one scale (docs/design.md, decision 9). A boot that failed and a
#: set-up error say that no test ran: below what the kernel did, above a test's own failure. A log that lacks
#: what the kernel counted may hide a splat: above that failure. That nothing was tested wins over passed
#: only: some part of a run was empty.
PRECEDENCE = (
    Outcome.QEMU_DIED,
    Outcome.PANIC,
    Outcome.SPLAT,
    Outcome.HANG,
    Outcome.BOOT_FAILED,
    Outcome.SETUP_ERROR,
    Outcome.LOG_INCOMPLETE,
    Outcome.FAILED,
    Outcome.NOTHING_TESTED,
    Outcome.PASSED,
)

_OOPS_KINDS = frozenset((SplatKind.OOPS, SplatKind.BUG))


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the outcome that wins, NOTHING_TESTED when there is none."""
    return min(outcomes, key=PRECEDENCE.index, default=Outcome.NOTHING_TESTED)


def outcome_of(splats: Iterable[Splat]) -> Outcome:
    """Return the outcome that these splats mean, PASSED when there is none."""
    return worst((Outcome.PASSED, *(_outcome_of_kind(splat.kind) for splat in splats)))


def error_for(splat: Splat) -> MachineFailure:
    """Return the exception for a splat, with its title as message and its text as evidence."""
    message = f"{splat.kind.value}: {splat.title}"
    error: type[MachineFailure]
    if splat.kind is SplatKind.PANIC:
        error = KernelPanic
    elif splat.kind in HANG_KINDS:
        error = GuestHang
    elif splat.kind in _OOPS_KINDS:
        error = KernelOops
    else:
        error = KernelWarning
    return error(message, evidence=splat.text)


def _outcome_of_kind(kind: SplatKind) -> Outcome:
    if kind is SplatKind.PANIC:
        return Outcome.PANIC
    return Outcome.HANG if kind in HANG_KINDS else Outcome.SPLAT


#: The classes that `error_for` returns, for `except`.
SPLAT_ERRORS: tuple[type[MachineFailure], ...] = (KernelPanic, GuestHang, KernelSplat)


def outcome_of_error(error: BaseException) -> Outcome:
    """Return the outcome that an exception stands for, FAILED for one that is not of this package."""
    if not isinstance(error, KmodHarnessError):
        return Outcome.FAILED
    return next(outcome for outcome in Outcome if outcome.exit_status == error.exit_status)
