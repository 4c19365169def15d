"""Runs of the cells: one pytest process each, with a time limit; its report and log are kept."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.errors import KmodHarnessError
from kmod_harness.klog.outcome import Outcome, worst
from kmod_harness.machine.fork import parent_death_signal
from kmod_harness.nightly.junit import CaseOutcome, CellVerdict, judge_cell
from kmod_harness.nightly.matrix import Cell, Matrix
from kmod_harness.report.columns import duration

#: How a pytest is started; the cell's options and the suite follow.
PYTEST = (sys.executable, "-m", "pytest")
#: Seconds between SIGINT, at which pytest ends its guests and writes its report, and SIGKILL.
GRACE_SECONDS = 15.0


@dataclass(frozen=True)
class Suite:
    """The tests to run in each cell.

    suite: paths of the tests
    arguments: further arguments of pytest
    limit: seconds for a cell
    pytest: command that runs pytest
    """

    suite: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    limit: float = 1800.0
    pytest: tuple[str, ...] = PYTEST

    def command(self, cell: Cell, tests: Sequence[str] = ()) -> tuple[str, ...]:
        """Returns the command that runs this cell, also for a person who wants to see its failures again.

        tests: node ids to run in place of the suite
        """
        return (*self.pytest, *(tests or self.suite), *cell.pytest_options(), *self.arguments)


@dataclass(frozen=True)
class CellResult:
    """The result of one cell.

    cell: the cell
    verdict: outcome and tests
    run: the tests that were run
    directory: directory of `junit.xml` and `pytest.log`
    seconds: wall time
    """

    cell: Cell
    verdict: CellVerdict
    run: Suite
    directory: Path
    seconds: float

    @property
    def again(self) -> str:
        """The command that runs the cell once more, as a line for a shell."""
        return shlex.join(self.run.command(self.cell))

    def alone(self, case: CaseOutcome) -> str:
        """Returns the command that runs one test of the cell once more, "" where its node id is not known."""
        return shlex.join(self.run.command(self.cell, [case.name])) if case.is_node else ""


def run_cell(cell: Cell, run: Suite, directory: Path) -> CellResult:
    """Runs the suite on one machine and returns the result; never raises for a failing suite."""
    directory.mkdir(parents=True, exist_ok=True)
    report = directory / "junit.xml"
    report.unlink(missing_ok=True)
    command = run.command(cell)
    started = time.monotonic()
    with (directory / "pytest.log").open("wb") as log:
        log.write(f"$ {shlex.join(command)}\n".encode())
        log.flush()
        # these two belong to this run, not to the command that a person types
        own = (f"--junitxml={report}", "-p", "no:cacheprovider")
        process = subprocess.Popen(
            (*command, *own),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=_interruptible(parent_death_signal(os.getpid())),
            # Ctrl-C reaches this process alone, which then interrupts pytest once
            process_group=0,
        )
        try:
            status = process.wait(run.limit)
            verdict = judge_cell(report, status)
        except subprocess.TimeoutExpired:
            verdict = _past_limit(report, _end(process), run.limit)
        finally:
            _end(process)
    return CellResult(cell, verdict, run, directory, time.monotonic() - started)


def run_matrix(
    matrix: Matrix,
    run: Suite,
    out: Path,
    prepare: Callable[[str], object],
    say: Callable[[str], object],
) -> tuple[CellResult, ...]:
    """Runs all cells, one after the other, and returns the results in the order of the matrix.

    matrix: the cells
    run: tests to run in each
    out: directory of the results
    prepare: function that makes what a kernel's cells need (the kernel, its modules); called once for each
        kernel. When it raises, those cells are set-up errors and the others still run
    say: function that takes one line when a cell starts and one when it ends
    """
    results: list[CellResult] = []
    prepared: dict[str, KmodHarnessError | None] = {}
    for cell in matrix.cells():
        if cell.kernel not in prepared:
            prepared[cell.kernel] = _error_of(prepare, cell.kernel)
        error = prepared[cell.kernel]
        directory = out / cell.name
        if error is None:
            say(f"{cell.name}: {shlex.join(run.command(cell))}")
            result = run_cell(cell, run, directory)
        else:
            result = _unprepared(cell, run, directory, error)
        say(f"{cell.name}: {result.verdict.outcome} after {duration(result.seconds)}")
        results.append(result)
    return tuple(results)


def overall(results: Sequence[CellResult]) -> Outcome:
    """Returns the worst outcome of all cells."""
    return worst(result.verdict.outcome for result in results)


def _error_of(prepare: Callable[[str], object], kernel: str) -> KmodHarnessError | None:
    try:
        prepare(kernel)
    except KmodHarnessError as error:
        return error
    return None


def _unprepared(cell: Cell, run: Suite, directory: Path, error: KmodHarnessError) -> CellResult:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pytest.log").write_text(f"{error}\n")
    verdict = CellVerdict(Outcome.SETUP_ERROR, trouble=str(error))
    return CellResult(cell, verdict, run, directory, 0.0)


def _past_limit(report: Path, exit_status: int, limit: float) -> CellVerdict:
    """Returns the verdict of a pytest past its limit: a hang, or a worse outcome that its report names."""
    told = judge_cell(report, exit_status)
    said = f"pytest did not end within {limit:g} seconds"
    if told.cases:
        return CellVerdict(worst((Outcome.HANG, told.outcome)), told.cases, said)
    return CellVerdict(Outcome.HANG, trouble=said)


def _interruptible(die_with_us: Callable[[], None]) -> Callable[[], None]:
    """Returns the function that the child runs before exec, so that SIGINT ends it also under nohup."""

    def in_child() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        die_with_us()

    return in_child


def _end(process: subprocess.Popen[bytes]) -> int:
    """Ends a process that still runs, first by SIGINT, and returns its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            return process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
