"""One booted guest and the judgement of what its kernel said."""

from __future__ import annotations

import contextlib
import shlex
import signal
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from ..errors import GuestHang, KernelPanic, MachineFailure
from ..guest import Guest, ProcessKilled
from ..klog import KernelRecord, Splat, SplatKind, error_for

#: Kernel log lines of the terminal's section; of a splat in the exception's text; before a splat.
_TAIL_LINES = 60
_SPLAT_LINES = 80
_LEAD_LINES = 10
_TRANSCRIPT_BYTES = 4000


@dataclass(frozen=True)
class Finding:
    """Something the machine did: a splat (`kind` is its SplatKind) or its end or hang (`kind` "")."""

    kind: str
    error: MachineFailure


@dataclass(frozen=True)
class Evidence:
    """What a failed test shows of one guest."""

    kernel_log: str
    transcript: str
    command_line: str

    def sections(self, number: str) -> list[tuple[str, str]]:
        """Returns (title, text) pairs for a report; nothing for what is empty."""
        named = (
            (f"kernel log{number}", self.kernel_log),
            (f"transcript of the shell{number}", self.transcript),
            (f"QEMU command line{number}", self.command_line),
        )
        return [(title, text) for title, text in named if text]


class WatchedGuest:
    """A guest, and up to where its kernel log has been judged.

    broken: it splatted, hung or ended, or could not be cleaned up; it is not used again.
    hangs: it may not answer any more.
    """

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.broken = False
        self.hangs = False
        self._judged = 0
        self._test_began = 0

    def begin_test(self) -> None:
        self._test_began = self.guest.kernel_log.mark()

    def give_up(self) -> None:
        """A call to it met its deadline: nothing waits for it any more."""
        self.broken = self.hangs = True

    def end(self) -> None:
        """Kills QEMU; its owner still closes it."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.guest.machine.watch.pidfd, signal.SIGKILL)

    def judge(self, *, wait: bool = True) -> list[Finding]:
        """Returns what the log holds that was not judged before; with `wait` the log is complete first."""
        end = self._complete_log() if wait else self._end()
        records = self.guest.kernel_log.since(self._judged)
        splats = self.guest.kernel_log.splats_since(self._judged)
        self._judged += len(records)
        findings = [Finding(splat.kind.value, _explain(splat, splats, records)) for splat in splats]
        if isinstance(end, KernelPanic):
            if not any(finding.kind == SplatKind.PANIC for finding in findings):
                findings.append(Finding(SplatKind.PANIC, end))
        elif end is not None:
            self.hangs = isinstance(end, GuestHang)
            findings.append(Finding("", end))
        self.broken = self.broken or bool(findings)
        return findings

    def finish(self) -> list[Finding]:
        """Unloads what was loaded, ends processes, completes the log, judges: the end of a test.

        A guest that is broken already is left as it is: it will be replaced, not repaired.
        """
        if self.broken:
            return []
        failures: list[MachineFailure | OSError]
        try:
            failures = self.guest.clean_up()
        except MachineFailure as end:
            failures = [end]
        findings = self.judge(wait=not any(isinstance(failure, GuestHang) for failure in failures))
        for failure in failures:
            self.broken = True
            if isinstance(failure, OSError):
                warnings.warn(
                    pytest.PytestWarning(f"clean-up failed, the guest is replaced: {failure}"), stacklevel=2
                )
            elif not findings:
                findings.append(Finding("", failure))
        return findings

    def evidence(self) -> Evidence:
        records = self.guest.kernel_log.since(self._test_began)
        return Evidence(
            "\n".join(record.raw for record in records[-_TAIL_LINES:]),
            self.guest.shell_transcript()[-_TRANSCRIPT_BYTES:],
            shlex.join(self.guest.machine.argv),
        )

    def _complete_log(self) -> MachineFailure | None:
        """Awaits a nonce on ttyS0; returns how the machine ended, if it did."""
        log = self.guest.kernel_log
        try:
            try:
                log.sync(self.guest.syscaller)
            except ProcessKilled:
                # killed by a call that nobody has waited for; its successor has no such past
                log.sync(self.guest.syscaller)
        except MachineFailure as end:
            return end
        return None

    def _end(self) -> MachineFailure | None:
        try:
            self.guest.machine.watch.raise_if_ended()
        except MachineFailure as end:
            return end
        return None


def _explain(splat: Splat, splats: Sequence[Splat], records: Sequence[KernelRecord]) -> MachineFailure:
    """Returns the splat's exception, with what led to it and what came after it named."""
    error = error_for(splat)
    lead = [record.raw for record in records[max(0, splat.first_line - _LEAD_LINES) : splat.first_line]]
    lines = [*lead, *splat.text.splitlines()]
    if len(lines) > _SPLAT_LINES:
        left_out = len(lines) - _SPLAT_LINES
        half = _SPLAT_LINES // 2
        lines = [*lines[:half], f"... {left_out} lines left out ...", *lines[-half:]]
    error.evidence = "\n".join(lines)
    others = [other.title for other in splats if other is not splat]
    if others:
        error.advice = f"the kernel reported more: {'; '.join(others[:5])}"
    return error
