"""Everything one run saw, as it happened, and the JSON object made of it."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmod_harness.errors import ExitStatus, GuestHang, InternalError, KmodHarnessError
from kmod_harness.klog.expected.allowance import Allowance, allowing
from kmod_harness.klog.expected.expectation import are_expected, report_of

if TYPE_CHECKING:
    from kmod_harness.cli.run.command_end import CommandEnd
    from kmod_harness.cli.run.live_output import LiveOutput
    from kmod_harness.cli.run.run_verdict import RunVerdict
    from kmod_harness.guest.guest import Guest
    from kmod_harness.guest.jobs import Completed
    from kmod_harness.guest.loaded_module import LoadedModule
    from kmod_harness.klog.expected.expectation import Expectation
    from kmod_harness.klog.ktap import KtapResult
    from kmod_harness.klog.records import KernelRecord
    from kmod_harness.klog.splats import Splat
    from kmod_harness.kmod.elf.module import KernelModule
    from kmod_harness.kmod.loading.plan import Load
    from kmod_harness.leftovers.findings import Finding
    from kmod_harness.lifecycle.prepare import Prepared

#: Changes when a key changes its meaning or goes; new keys may come.
VERSION = 1
STAGES = ("prepare", "boot", "push", "load", "command", "unload", "judge")
#: The most kernel log records put into the JSON object: the last ones, when a guest floods its log.
MAX_RECORDS = 20_000


@dataclass
class ModuleRow:
    """A module of the run; `loaded` is None until the kernel took it."""

    load: Load
    parameters: Mapping[str, str | None]
    loaded: LoadedModule | None = None
    unloaded: bool = False
    #: it has no exit function
    stays: bool = False

    @property
    def file(self) -> KernelModule:
        """The content of its .ko."""
        return self.load.module


@dataclass
class Kept:
    """The parts kept of a guest before it ended: texts by name, a directory with its memory and state."""

    transcripts: dict[str, str] = field(default_factory=dict)
    guest_directory: Path | None = None
    is_of_hang: bool = False


@dataclass
class RunRecord:
    """Filled while the run goes on, so that whatever ends it leaves what was known until then."""

    started: float = field(default_factory=time.monotonic)
    timings: dict[str, float] = field(default_factory=dict)
    prepared: Prepared | None = None
    modules: list[ModuleRow] = field(default_factory=list)
    slide: int | None = None
    command: Sequence[str] = ()
    completed: Completed | None = None
    #: the command's, where it took too long
    overdue: GuestHang | None = None
    #: is given what the command says; None keeps it for the JSON object
    live_output: LiveOutput | None = None
    command_end: CommandEnd | None = None
    log_before_load: int | None = None
    log_before_command: int = 0
    #: the .ko files and directories that were pushed
    pushed: Sequence[Path] = ()
    records: Sequence[KernelRecord] = ()
    splats: Sequence[Splat] = ()
    #: reports that may come, and those that might have until their last day
    allowed: Sequence[Allowance] = ()
    allowed_once: Sequence[Allowance] = ()
    #: KUnit's, from the kernel log
    cases: Sequence[KtapResult] = ()
    #: how many records the kernel logged that are in no log
    lost: int = 0
    errors: list[BaseException] = field(default_factory=list)
    qemu_argv: Sequence[str] = ()
    raw_log: bytes = b""
    #: what the modules left behind, None where it was not looked for
    leftovers: Sequence[Finding] | None = None
    kept: Kept = field(default_factory=Kept)
    bundle: Path | None = None
    guest: Guest | None = None

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the seconds spent inside to the stage's, however it ends."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = self.timings.get(name, 0.0) + time.monotonic() - start

    @functools.cached_property
    def files(self) -> list[KernelModule]:
        """The modules of the run, and those of its reports that the command loaded from what was pushed."""
        from kmod_harness.cli.run.pushed import pushed_modules  # lazy

        own = [row.file for row in self.modules]
        named = {name for splat in self.splats for name in splat.modules} - {file.name for file in own}
        return [*own, *pushed_modules(self.pushed, named)]

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


def as_json(
    record: RunRecord, verdict: RunVerdict, exit_status: int, expected: Sequence[Expectation]
) -> dict[str, Any]:
    """Returns the JSON object of a run: sizes in bytes, times in seconds, addresses as hex strings."""
    reports = [report_of(splat) for splat in record.splats]
    by = allowing(reports, expected, record.allowed)
    return {
        "version": VERSION,
        "outcome": _outcome(record, verdict),
        "reason": verdict.reason,
        "exit_status": exit_status,
        "timings": _timings(record),
        # the one the run is about: the last that was given, which the others were loaded for
        "module": next((_module(row) for row in reversed(record.modules) if row.load.is_given), None),
        "modules": [_module(row) for row in record.modules],
        "kernel": _kernel(record),
        "accelerator": _accelerator(record),
        "command": _command(record),
        "kernel_log": [
            {"level": entry.level, "timestamp": entry.timestamp, "text": entry.text}
            for entry in record.records[-MAX_RECORDS:]
        ],
        "kernel_log_dropped": record.lost + max(0, len(record.records) - MAX_RECORDS),
        "kernel_log_lost": record.lost,
        "splats": [
            {**_splat(splat, is_expected), "allowed_by": str(one) if one is not None else None}
            for splat, is_expected, one in zip(
                record.splats, are_expected(reports, expected), by, strict=True
            )
        ],
        "allowances": [
            *(_allowance(one, by.count(one)) for one in record.allowed),
            *(_allowance(one, 0, has_expired=True) for one in record.allowed_once),
        ],
        "ktap": [
            {"name": case.name, "status": case.status.value, "reason": case.reason} for case in record.cases
        ],
        "leftovers": None if record.leftovers is None else [asdict(found) for found in record.leftovers],
        "error": _error(record.errors[0]) if record.errors else None,
        "errors": [_error(error) for error in record.errors],
        "qemu": {"argv": list(record.qemu_argv)},
        "interrogation": record.kept.transcripts.get("interrogation", ""),
        "bundle": str(record.bundle) if record.bundle else None,
    }


def _outcome(record: RunRecord, verdict: RunVerdict) -> str:
    """A fault of ours has a word of its own, where nothing worse was seen before it."""
    has_fault = any(isinstance(error, InternalError) for error in record.errors)
    is_usage = verdict.outcome.exit_status == ExitStatus.USAGE
    return "internal-error" if has_fault and is_usage else str(verdict.outcome.value)


def _timings(record: RunRecord) -> dict[str, float | None]:
    timings: dict[str, float | None] = {
        name: round(record.timings[name], 4) if name in record.timings else None for name in STAGES
    }
    return {**timings, "total": round(record.seconds, 4)}


def _module(row: ModuleRow) -> dict[str, Any]:
    loaded = row.loaded
    return {
        "name": row.file.name,
        "path": str(row.file.path),
        "vermagic": row.file.vermagic,
        "build_id": row.file.build_id,
        "parameters": dict(row.parameters),
        "why": row.load.why.value,
        "needed_by": row.load.by,
        "loaded": loaded is not None,
        "unloaded": row.unloaded,
        "address": hex(loaded.address) if loaded else None,
        "size": loaded.size if loaded else None,
        "sections": {name: hex(address) for name, address in loaded.sections.items()} if loaded else {},
        "taint": loaded.taint if loaded else None,
        "load_seconds": round(loaded.load_seconds, 4) if loaded else None,
    }


def _kernel(record: RunRecord) -> dict[str, Any] | None:
    if record.prepared is None:
        return None
    kernel = record.prepared.kernel
    return {
        "name": kernel.name,
        "release": kernel.release,
        "slide": hex(record.slide) if record.slide is not None else None,
        "path": str(kernel.bzimage),
    }


def _accelerator(record: RunRecord) -> dict[str, str] | None:
    if record.prepared is None:
        return None
    return {"name": record.prepared.accelerator.name, "reason": record.prepared.accelerator.reason}


def _command(record: RunRecord) -> dict[str, Any] | None:
    if not record.command:
        return None
    done, end = record.completed, record.command_end
    stdout, stderr = (done.stdout, done.stderr) if done else (b"", b"")
    if record.overdue is not None:
        stdout, stderr = record.overdue.stdout, record.overdue.stderr
    how = end.text if end else done.how if done else "it was not run to its end"
    return {
        "argv": list(record.command),
        "status": done.status if done else None,
        "how": how,
        "signal": (end.signal if end else "") or None,
        "killed_by": (end.killed_by if end else "") or None,
        "stdout": stdout.decode(errors="replace"),
        "stderr": stderr.decode(errors="replace"),
    }


def _splat(splat: Splat, is_expected: bool) -> dict[str, Any]:
    return {
        "kind": splat.kind.value,
        "title": splat.title,
        "expected": is_expected,
        "task": splat.task,
        "pid": splat.pid,
        "cpu": splat.cpu,
        "function": splat.function,
        "modules": list(splat.modules),
        "text": splat.text,
    }


def _allowance(allowance: Allowance, matched: int, *, has_expired: bool = False) -> dict[str, Any]:
    return {
        "kind": allowance.kind.value,
        "pattern": allowance.pattern,
        "title": allowance.title,
        "function": allowance.function,
        "times": allowance.times,
        "reason": allowance.reason,
        "link": allowance.link,
        "expires": allowance.expires.isoformat() if allowance.expires else None,
        "expired": has_expired,
        "matched": matched,
    }


def _error(error: BaseException) -> dict[str, Any]:
    known = isinstance(error, KmodHarnessError)
    found: dict[str, Any] = {
        "type": type(error).__name__,
        "message": error.message if isinstance(error, KmodHarnessError) else str(error),
        "evidence": error.evidence if isinstance(error, KmodHarnessError) else "",
        "advice": error.advice if isinstance(error, KmodHarnessError) else "",
        "known": known,
    }
    number = getattr(error, "errno", None)
    if number is not None:
        found["errno"] = number
    return found
