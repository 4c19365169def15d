"""One outcome from everything that happened: nothing passes by accident, nothing hides something worse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmod_harness.cli.run.run_verdict import RunObservations, run_verdict
from kmod_harness.errors import (
    BootFailed,
    CheckFailed,
    GuestHang,
    KernelOops,
    KernelPanic,
    MachineFailure,
    Misuse,
    ModuleLoadError,
    ProcessKilled,
    QemuDied,
)
from kmod_harness.klog.expected.expectation import Expectation
from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.ktap import KtapResult, TestStatus
from kmod_harness.klog.outcome import Outcome, outcome_of_error
from kmod_harness.klog.splats import Splat


def _splat(kind: SplatKind) -> Splat:
    return Splat(
        kind=kind,
        title=f"a {kind}",
        text="",
        task="",
        pid=None,
        cpu=None,
        rip_symbol="",
        function="",
        modules=(),
        linked_modules=(),
        first_line=0,
        last_line=0,
    )


OOPS, WARNING, PANIC = _splat(SplatKind.OOPS), _splat(SplatKind.WARNING), _splat(SplatKind.PANIC)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (QemuDied("x"), Outcome.QEMU_DIED),
        (KernelPanic("x"), Outcome.PANIC),
        (KernelOops("x"), Outcome.SPLAT),
        (GuestHang("x"), Outcome.HANG),
        (BootFailed("x"), Outcome.BOOT_FAILED),
        (Misuse("x"), Outcome.SETUP_ERROR),
        (ModuleLoadError("x", 22), Outcome.FAILED),
        (CheckFailed("x"), Outcome.FAILED),
        (ValueError("x"), Outcome.FAILED),
    ],
)
def test_each_error_has_its_outcome(error: Exception, outcome: Outcome) -> None:
    assert outcome_of_error(error) is outcome
    assert run_verdict(RunObservations(errors=[error])).outcome is outcome


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(0, "passed"), (1, "failed"), (3, "failed"), (4, "nothing-tested"), (127, "failed"), (-9, "failed")],
)
def test_the_commands_status_decides_when_nothing_else_does(status: int, outcome: str) -> None:
    assert run_verdict(RunObservations(has_command=True, status=status)).outcome == outcome


def test_a_command_that_did_not_run_is_no_pass() -> None:
    verdict = run_verdict(RunObservations(has_command=True, status=None))
    assert (verdict.outcome, verdict.reason) == (Outcome.FAILED, "the command was not run")


def test_a_splat_wins_over_the_commands_success_and_over_its_failure() -> None:
    for status in (0, 1, 4):
        verdict = run_verdict(RunObservations(splats=[WARNING], has_command=True, status=status))
        assert (verdict.outcome, verdict.reason) == (Outcome.SPLAT, "a WARNING")


def test_the_worst_of_several_wins() -> None:
    hang = GuestHang("too long")
    assert run_verdict(RunObservations(errors=[hang], splats=[OOPS])).outcome is Outcome.SPLAT
    assert run_verdict(RunObservations(errors=[hang], splats=[OOPS, PANIC])).outcome is Outcome.PANIC
    assert run_verdict(RunObservations(errors=[QemuDied("x")], splats=[PANIC])).outcome is Outcome.QEMU_DIED


def test_a_panic_that_ends_the_boot_is_a_failed_boot() -> None:
    verdict = run_verdict(RunObservations(errors=[BootFailed("it never came up")], splats=[PANIC]))
    assert (verdict.outcome, verdict.reason) == (Outcome.BOOT_FAILED, "it never came up")


def test_an_expected_splat_passes_with_all_that_follows_from_it() -> None:
    killed = ProcessKilled("killed", 9, "write")
    seen = RunObservations(
        errors=[KernelOops("x"), killed], splats=[OOPS], expected=[Expectation(SplatKind.OOPS)]
    )
    assert run_verdict(seen).outcome is Outcome.PASSED
    by_signal = RunObservations(
        splats=[OOPS], expected=[Expectation(SplatKind.OOPS)], has_command=True, status=-9
    )
    assert run_verdict(by_signal).outcome is Outcome.PASSED
    panic = RunObservations(
        errors=[KernelPanic("x")], splats=[PANIC], expected=[Expectation(SplatKind.PANIC)]
    )
    assert run_verdict(panic).outcome is Outcome.PASSED


def test_an_expected_splat_excuses_no_other_failure() -> None:
    expected = [Expectation(SplatKind.OOPS)]
    assert run_verdict(RunObservations(splats=[OOPS, WARNING], expected=expected)).outcome is Outcome.SPLAT
    assert (
        run_verdict(RunObservations(splats=[OOPS], expected=expected, has_command=True, status=1)).outcome
        == "failed"
    )
    assert (
        run_verdict(RunObservations(splats=[OOPS], expected=expected, has_command=True)).outcome == "failed"
    )
    assert (
        run_verdict(RunObservations(errors=[GuestHang("x")], splats=[OOPS], expected=expected)).outcome
        == "hang"
    )


def test_an_expected_splat_that_does_not_come_is_a_failure() -> None:
    verdict = run_verdict(
        RunObservations(expected=[Expectation(SplatKind.KASAN)], has_command=True, status=0)
    )
    assert (verdict.outcome, verdict.reason) == (Outcome.FAILED, "the expected KASAN did not come")


def test_a_killed_process_without_a_splat_is_a_failure() -> None:
    error: MachineFailure = ProcessKilled("killed", 9, "write")
    assert run_verdict(RunObservations(errors=[error])).outcome is Outcome.FAILED


def test_a_failed_kunit_case_fails_a_run_that_is_otherwise_clean() -> None:
    passed, failed, skipped = (
        KtapResult(f"suite/{status}", status)
        for status in (TestStatus.PASSED, TestStatus.FAILED, TestStatus.SKIPPED)
    )
    assert run_verdict(RunObservations(cases=[passed, skipped])).outcome is Outcome.PASSED
    verdict = run_verdict(RunObservations(cases=[passed, failed, skipped, failed]))
    assert (verdict.outcome, verdict.reason) == (Outcome.FAILED, "KUnit: suite/failed and 1 more failed")
    assert run_verdict(RunObservations(cases=[failed], splats=[OOPS])).outcome is Outcome.SPLAT


def test_an_expected_oops_excuses_the_death_of_no_other_process() -> None:
    oops = replace(OOPS, pid=41)
    seen = RunObservations(
        splats=[oops], expected=[Expectation(SplatKind.OOPS)], has_command=True, status=-11, pid=40
    )
    assert run_verdict(seen).outcome is Outcome.FAILED
    assert run_verdict(replace(seen, pid=41)).outcome is Outcome.PASSED
    killed = ProcessKilled("killed", 9, "write", 40)
    assert (
        run_verdict(RunObservations(errors=[killed], splats=[oops], expected=seen.expected)).outcome
        == "failed"
    )


def test_a_kind_that_is_expected_hides_no_second_report_of_another_function() -> None:
    known, fresh = (
        replace(WARNING, function=name, title=f"WARNING in {name}") for name in ("known", "fresh")
    )
    verdict = run_verdict(RunObservations(splats=[known, fresh], expected=[Expectation(SplatKind.WARNING)]))
    assert (verdict.outcome, verdict.reason) == (Outcome.SPLAT, "WARNING in fresh")
    by_name = [Expectation(SplatKind.WARNING, "known"), Expectation(SplatKind.WARNING, "fresh")]
    assert run_verdict(RunObservations(splats=[known, fresh], expected=by_name)).outcome is Outcome.PASSED
    absent = run_verdict(RunObservations(splats=[known], expected=by_name))
    assert (absent.outcome, absent.reason) == (Outcome.FAILED, "the expected WARNING:fresh did not come")
