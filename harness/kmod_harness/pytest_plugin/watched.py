"""One booted guest and the judgement of what its kernel said."""

from __future__ import annotations

import contextlib
import shlex
import signal
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.errors import (
    CheckFailed,
    GuestHang,
    KernelPanic,
    KernelWarning,
    LogIncomplete,
    MachineFailure,
    ProcessKilled,
)
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.programs.tasks import tell_tasks
from kmod_harness.klog.expected.expectation import Report, report_of
from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.ktap import TestStatus, ktap_results
from kmod_harness.klog.reading import for_reading
from kmod_harness.klog.records import KernelRecord
from kmod_harness.klog.splats import Splat
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.leftovers.watch import LeftBehind, LeftoverWatch
from kmod_harness.lifecycle.counters_from_outside import counters_of_the_silent
from kmod_harness.lifecycle.oops_trap import set_oops_trap
from kmod_harness.pytest_plugin.blame import GuestUse, use_at_fault
from kmod_harness.pytest_plugin.failure.evidence import Evidence
from kmod_harness.pytest_plugin.failure.explained import explained, frame_lines
from kmod_harness.pytest_plugin.failure.last_calls import LastCalls, Place
from kmod_harness.pytest_plugin.markers import leaves_behind
from kmod_harness.report.readable import lines_of_report

_TRANSCRIPT_BYTES = 4000
#: Lines of the kernel log that are evidence at most, those that the failure's text holds among them.
_LOG_LINES = 500
#: Seconds in which a guest answers that only met a deadline with one program; it takes milliseconds.
_ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class Incident:
    """Something the machine did: a splat (`kind` is its SplatKind) or its end or hang (`kind` "").

    culprit: an earlier test that did it, None for the one that runs or where nothing tells. where: the
    running test's lines at its last call before it, () where they are not known. log: the lines of the
    kernel log that the error tells. report: of a splat, what an expectation looks at.
    """

    kind: str
    error: MachineFailure
    culprit: pytest.Item | None = None
    where: tuple[Place, ...] = ()
    log: frozenset[str] = frozenset()
    report: Report | None = None


class WatchedGuest:
    """A guest, and up to where its kernel log has been judged.

    broken: it splatted, hung or ended, or could not be cleaned up; no other test gets it.
    is_damaged: its kernel did not simply go on, so there is no cleaning up. hangs: it does not answer.
    """

    def __init__(
        self, guest: Guest, kernel: Kernel, *, settle: float = 0.0, leftovers: LeftoverWatch | None = None
    ) -> None:
        self.guest = guest
        self.kernel = kernel
        self._leftovers = leftovers
        #: what a guest that hangs said when it was asked why
        self.interrogation = ""
        #: its state where its kernel oopsed
        self.kept_guest: Path | None = None
        #: what its programs did when one took too long
        self._tasks = ""
        guest.machine.before_kill = self._note_tasks
        self._has_trap = False
        self._settle = settle
        self.broken = False
        self.is_damaged = False
        self.hangs = False
        self._judged = guest.kernel_log.restore_mark
        #: what was told of the log's completeness
        self._told_incomplete = ""
        self._test_began = 0
        self._uses: list[GuestUse] = []
        self._is_in_test = False
        self._last_calls = LastCalls(guest.kernel_log.mark)
        guest.machine.before_request = self._last_calls.note
        #: what was loaded in earlier uses
        self._files: dict[str, KernelModule] = {}

    def begin_test(self, item: pytest.Item | None = None, *, keeps_oops: bool = False) -> None:
        """keeps_oops: an oops would be a failure, and leave the guest's state."""
        self._test_began = self.guest.kernel_log.mark()
        self._last_calls.clear()
        self._tasks = ""
        if item is not None and not (self._uses and self._uses[-1].item is item):
            self._note_use(item)
        self._is_in_test = True
        is_looked_at = item is None or not leaves_behind(item)
        self.guest._watch = self._leftovers if is_looked_at else None
        if keeps_oops != self._has_trap and not self.guest.machine.watch.has_ended:
            self._has_trap = keeps_oops
            # without it there is less evidence, and nothing else is wrong
            with contextlib.suppress(MachineFailure):
                self._set_trap() if keeps_oops else self.guest.machine.watch.set_trap(None)

    def end_test(self) -> None:
        """Ends the test: reports from here on came between two tests."""
        self._is_in_test = False
        if self._uses:
            self._end_use()

    def _end_use(self) -> None:
        loaded = self.guest._loaded_files
        self._uses[-1].modules |= frozenset(loaded)
        self._files |= loaded
        loaded.clear()

    def _note_use(self, item: pytest.Item) -> None:
        if self._uses:
            self._end_use()
            # a guest that was sound a moment ago; without the number a task tells less
            first = 0
            if not self.broken:
                with contextlib.suppress(MachineFailure, OSError, ValueError):
                    first = int(self.guest.read_text("/proc/loadavg").split()[-1]) + 1
        else:
            first = min(pid for _, pid in (*self.guest._spares, (0, self.guest.syscaller.pid)))
        self._uses.append(GuestUse(item, first))

    def _set_trap(self) -> None:
        def keep(directory: Path) -> None:
            self.kept_guest = directory

        trap = set_oops_trap(self.guest.machine, self.kernel, self.guest._known_slide, keep)
        if trap is not None:
            trap.await_set()

    def take_kept_guest(self) -> Path | None:
        """Returns the parts kept where the kernel oopsed; whoever takes them discards them in the end."""
        kept_guest, self.kept_guest = self.kept_guest, None
        return kept_guest

    def end(self) -> None:
        """Kills QEMU; its owner still closes it."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.guest.machine.watch.pidfd, signal.SIGKILL)

    def judge(self, *, wait: bool = True) -> list[Incident]:
        """Returns what was not judged before; with `wait` the log is complete first, and leftovers count."""
        if not wait or self.hangs:
            return self._incidents(self._end())
        try:
            left = self._what_was_left()
        except MachineFailure:
            # what it says comes up below
            left = []
        incidents = self._incidents(self._complete_log())
        # a kernel that reported something has told its story
        self.broken = self.broken or bool(left)
        return incidents or left

    def judge_after_hang(self) -> list[Incident]:
        """As `judge`, of a guest that may have been met by a deadline: finds out soon if it still answers."""
        machine = self.guest.machine
        self.broken = True
        self._ask_why()
        limit, machine.call_limit = machine.call_limit, _ANSWER_SECONDS
        try:
            end = self._complete_log()
        finally:
            machine.call_limit = limit
        if isinstance(end, GuestHang):
            self.hangs = self.is_damaged = True
            end = None
        return self._incidents(end)

    def _ask_why(self) -> None:
        """Has the kernel and the CPUs tell what they do, once, before anything is ended."""
        from kmod_harness.machine.interrogation import interrogate  # lazy
        from kmod_harness.report.address_names import with_address_names  # lazy

        if not self.interrogation and not self.guest.machine.watch.has_ended:
            self._note_tasks()
            told = [self._tasks] if self._tasks else []
            with contextlib.suppress(MachineFailure):
                names = self.guest.kernel_log.addresses.name_of
                said = str(interrogate(self.guest.machine))
                told.append(with_address_names(said, self.kernel, self.guest._known_slide, names))
            self.interrogation = "\n".join(told)

    def _note_tasks(self) -> bool:
        """Notes what the guest's programs do, the first time in a test that something takes too long."""
        if not self._tasks:
            self._tasks = tell_tasks(self.guest.machine, self.guest._channel)
        return bool(self._tasks)

    @property
    def modules(self) -> tuple[KernelModule, ...]:
        """The modules it has had since the checkpoint, also those that are unloaded."""
        files = {file.name: file for file in self.guest._inherited}
        return tuple({**files, **self._files, **self.guest._loaded_files}.values())

    def _incidents(self, end: MachineFailure | None) -> list[Incident]:
        judged = self._judged
        records = self.guest.kernel_log.since(judged)
        splats = self.guest.kernel_log.splats_since(judged)
        self._judged += len(records)
        lines = frame_lines(self.kernel, self.modules) if splats else None
        incidents = []
        for splat in splats:
            incident = self._attributed(splat, explained(splat, splats, lines), judged + splat.first_line)
            log = for_reading(record.raw for record in lines_of_report(records, splat))
            incidents.append(replace(incident, log=frozenset(log)))
        if isinstance(end, KernelPanic):
            if not any(incident.kind == SplatKind.PANIC for incident in incidents):
                incidents.append(Incident(SplatKind.PANIC, end, report=Report(SplatKind.PANIC, end.message)))
        elif end is not None:
            incidents.append(Incident("", end))
            if self._uses and not self._is_in_test:
                _say_between(end, self._uses[-1])
        incidents += self._incomplete_log()
        self.hangs = self.hangs or isinstance(end, GuestHang)
        self.broken = self.broken or bool(incidents)
        self.is_damaged = self.is_damaged or any(
            not isinstance(incident.error, (KernelWarning, LogIncomplete)) for incident in incidents
        )
        return [*incidents, *_failed_cases(records)]

    def _incomplete_log(self) -> list[Incident]:
        """Returns that the log lacks what the kernel counted, once."""
        log = self.guest.kernel_log
        log.counters = counters_of_the_silent(self.guest, self.kernel, self.guest._known_slide)
        error = log.incompleteness()
        if error is None or error.message == self._told_incomplete:
            return []
        self._told_incomplete = error.message
        return [Incident("", error)]

    def _attributed(self, splat: Splat, error: MachineFailure, at: int) -> Incident:
        """Returns the incident of a report at a place in the log, with the test that it is of."""
        running = self._uses[-1] if self._uses and self._is_in_test else None
        if running is not None:
            running.modules |= frozenset(self.guest._loaded_files)
        use = use_at_fault(splat, self._uses)
        ended = self._uses[:-1] if running is not None else self._uses
        if use is None and ended and (running is None or at < self._test_began):
            _say_between(error, ended[-1])
        culprit = use.item if use is not None and use is not running else None
        where = self._last_calls.before(at) if running is not None and culprit is None else ()
        return Incident(splat.kind.value, error, culprit, where, report=report_of(splat))

    def finish(self) -> list[Incident]:
        """Unloads what was loaded, ends processes, completes the log, judges: the end of a test.

        A guest that is damaged is left as it is: it will be replaced, not repaired.
        """
        if self.is_damaged:
            return []
        failures: list[MachineFailure | OSError]
        left: list[Incident] = []
        try:
            failures = self.guest._clean_up()
            left = self._what_was_left()
            if self.guest._has_loaded:
                self.guest.scan_kmemleak()
            if self._settle:
                self.guest.machine.settle(self._settle)
        except MachineFailure as end:
            failures = [end]
        self.broken = self.broken or self.guest._has_permanent
        hung = any(isinstance(failure, GuestHang) for failure in failures)
        incidents = self.judge_after_hang() if hung else self.judge()
        for failure in failures:
            self.broken = True
            if isinstance(failure, OSError):
                said = "; ".join([str(failure), *getattr(failure, "__notes__", ())])
                warnings.warn(
                    pytest.PytestWarning(f"clean-up failed, the guest is replaced: {said}"), stacklevel=2
                )
            elif not incidents:
                incidents.append(Incident("", failure))
        # a kernel that reported something has told its story
        self.broken = self.broken or bool(left)
        return incidents or left

    def _what_was_left(self) -> list[Incident]:
        """Returns what the unloaded modules left behind. Raises what ends the machine."""
        if self._leftovers is None or self.is_damaged:
            return []
        found = self._leftovers.take_findings()
        for limit in self._leftovers.limits:
            warnings.warn(pytest.PytestWarning(limit), stacklevel=2)
        return [Incident("", LeftBehind(found))] if found else []

    def evidence(self) -> Evidence:
        said = self.guest.kernel_log.since(self._test_began)[-_LOG_LINES:]
        return Evidence(
            for_reading(record.raw for record in said),
            self.interrogation,
            self.guest._shell_transcript()[-_TRANSCRIPT_BYTES:],
            shlex.join(self.guest.machine.argv),
        )

    def _complete_log(self) -> MachineFailure | None:
        """Awaits a nonce on ttyS0; returns how the machine ended, if it did."""
        log = self.guest.kernel_log
        try:
            try:
                log.complete(self.guest.syscaller)
            except ProcessKilled:
                # killed by a call that nobody has waited for; its successor has no such past
                log.complete(self.guest.syscaller)
        except MachineFailure as end:
            return end
        return None

    def _end(self) -> MachineFailure | None:
        try:
            self.guest.machine.watch.raise_if_ended()
        except MachineFailure as end:
            return end
        return None


def _say_between(error: MachineFailure, before: GuestUse) -> None:
    error.message = f"{error.message}, between tests, after {before.item.nodeid} had ended"


def _failed_cases(records: Sequence[KernelRecord]) -> list[Incident]:
    """The cases of KUnit suites that failed; the kernel itself is as sound as before."""
    return [
        Incident("", CheckFailed(f"KUnit: {case.name} failed", evidence="\n".join(case.diagnostics)))
        for case in ktap_results(records)
        if case.status is TestStatus.FAILED
    ]
