"""A nightly run over cells: real processes in pytest's place, some of which behave badly."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kmod_harness.errors import Misuse
from kmod_harness.klog.outcome import Outcome
from kmod_harness.nightly import cells
from kmod_harness.nightly.cells import CellResult, Suite, overall, run_cell, run_matrix
from kmod_harness.nightly.junit import CaseOutcome, CellVerdict
from kmod_harness.nightly.matrix import Cell, Matrix
from kmod_harness.nightly.summary import markdown_summary, text_summary

CELL = Cell("minimal", 2, False)

#: In pytest's place: writes a report and ends as its arguments (behind `--`) tell.
FAKE = """\
import os, signal, sys, time
report = next(word for word in sys.argv if word.startswith("--junitxml=")).split("=", 1)[1]
kernel = next(word for word in sys.argv if word.startswith("--kh-kernel=")).split("=", 1)[1]
def write(told):
    failure = "" if told == "passed" else "<failure/>"
    with open(report, "w") as file:
        file.write(f'<t><testcase classname="c" name="t"><properties><property name="kh_outcome"'
                   f' value="{told}"/></properties>{failure}</testcase></t>')
    return told != "passed"
print("a line for the log", flush=True)
"""


def fake_pytest(tmp_path: Path, behaviour: str) -> Suite:
    script = tmp_path / "fake_pytest.py"
    script.write_text(FAKE + behaviour)
    return Suite(("tests/guest",), limit=20, pytest=(sys.executable, str(script)))


def result(outcome_word: str, tmp_path: Path) -> CellResult:
    return run_cell(CELL, fake_pytest(tmp_path, f"sys.exit(write({outcome_word!r}))"), tmp_path / "cell")


def test_a_cells_report_and_log_are_kept(tmp_path: Path) -> None:
    passed = result("passed", tmp_path)
    assert passed.verdict.outcome is Outcome.PASSED
    log = (passed.directory / "pytest.log").read_text()
    assert log.startswith("$ ")
    assert "a line for the log" in log
    assert (passed.directory / "junit.xml").exists()


def test_the_command_shown_is_the_one_run_less_where_this_run_keeps_its_report(tmp_path: Path) -> None:
    run = Suite(("tests/guest",), ("-k", "a or b"), pytest=("pytest",))
    shown = CellResult(CELL, result("passed", tmp_path).verdict, run, tmp_path, 1.0).again
    assert shown == (
        "pytest tests/guest --kh-kernel=minimal --kh-cpus=2 --kh-cold --kh-append=nokaslr -k 'a or b'"
    )


def test_an_old_report_is_never_taken_for_this_runs(tmp_path: Path) -> None:
    assert result("passed", tmp_path).verdict.outcome is Outcome.PASSED
    silent = run_cell(CELL, fake_pytest(tmp_path, "sys.exit(0)"), tmp_path / "cell")
    assert silent.verdict.outcome is Outcome.SETUP_ERROR


def test_a_pytest_killed_from_outside_is_a_set_up_error_with_its_signal(tmp_path: Path) -> None:
    killed = run_cell(CELL, fake_pytest(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"), tmp_path / "cell")
    assert killed.verdict.outcome is Outcome.SETUP_ERROR
    assert "-9" in killed.verdict.trouble


@pytest.mark.parametrize("here", [signal.default_int_handler, signal.SIG_IGN], ids=["", "nohup"])
def test_a_pytest_past_its_limit_is_interrupted_and_a_hang(tmp_path: Path, here: signal.Handlers) -> None:
    behaviour = """\
try:
    signal.pause()
except KeyboardInterrupt:
    write("failed")
    sys.exit(2)
"""
    run = fake_pytest(tmp_path, behaviour)
    before = signal.signal(signal.SIGINT, here)
    try:
        hung = run_cell(CELL, Suite(run.suite, limit=0.5, pytest=run.pytest), tmp_path / "cell")
    finally:
        signal.signal(signal.SIGINT, before)
    assert hung.verdict.outcome is Outcome.HANG
    assert "within 0.5 seconds" in hung.verdict.trouble
    assert hung.verdict.not_passed[0].outcome is Outcome.FAILED


def test_a_pytest_that_ignores_its_interruption_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "GRACE_SECONDS", 0.3)
    behaviour = "signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: time.sleep(60)"
    run = fake_pytest(tmp_path, behaviour)
    started = time.monotonic()
    hung = run_cell(CELL, Suite(run.suite, limit=0.5, pytest=run.pytest), tmp_path / "cell")
    assert hung.verdict.outcome is Outcome.HANG
    assert time.monotonic() - started < 15


def test_pytest_ends_with_a_killed_nightly(tmp_path: Path) -> None:
    behaviour = (
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nprint(flush=True)\nsignal.pause()"
    )
    run = fake_pytest(tmp_path, behaviour)
    os.mkfifo(tmp_path / "pid")
    nightly = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path\n"
            "from kmod_harness.nightly.cells import Suite, run_cell\n"
            "from kmod_harness.nightly.matrix import Cell\n"
            "run_cell(Cell('minimal', 1, True), Suite((), pytest=tuple(sys.argv[2:])), Path(sys.argv[1]))",
            str(tmp_path / "cell"),
            *run.pytest,
        ]
    )
    watched = os.pidfd_open(int((tmp_path / "pid").read_text()))
    try:
        nightly.kill()
        nightly.wait()
        import select

        assert select.select([watched], [], [], 10)[0], "pytest outlived its parent"
    finally:
        os.close(watched)


def test_every_cell_runs_and_the_worst_decides(tmp_path: Path) -> None:
    behaviour = 'sys.exit(write({"good": "passed", "bad": "splat", "worse": "panic"}[kernel]))'
    matrix = Matrix(("good", "bad", "worse"), (1,), (True,))
    prepared: list[str] = []
    said: list[str] = []
    results = run_matrix(matrix, fake_pytest(tmp_path, behaviour), tmp_path, prepared.append, said.append)
    assert [str(r.verdict.outcome) for r in results] == ["passed", "splat", "panic"]
    assert overall(results).exit_status == 4
    assert prepared == ["good", "bad", "worse"]
    assert said[-1].startswith("worse-1cpu-kaslr: panic after ")


def test_a_kernel_is_prepared_once_for_all_its_cells(tmp_path: Path) -> None:
    prepared: list[str] = []
    run_matrix(
        Matrix(("good",), (1, 2)),
        fake_pytest(tmp_path, "sys.exit(write('passed'))"),
        tmp_path,
        prepared.append,
        lambda line: None,
    )
    assert prepared == ["good"]


def test_a_kernel_that_cannot_be_had_is_a_set_up_error_of_its_cells_alone(tmp_path: Path) -> None:
    def prepare(kernel: str) -> None:
        if kernel == "gone":
            raise Misuse("there is no kernel gone", advice="another")

    run = fake_pytest(tmp_path, "sys.exit(write('passed'))")
    results = run_matrix(Matrix(("gone", "good"), (1,), (True,)), run, tmp_path, prepare, lambda line: None)
    assert [r.verdict.outcome for r in results] == [Outcome.SETUP_ERROR, Outcome.PASSED]
    assert "there is no kernel gone" in (tmp_path / "gone-1cpu-kaslr/pytest.log").read_text()
    assert overall(results).exit_status == 2


def test_a_matrix_without_cells_tested_nothing() -> None:
    assert overall(()) is Outcome.NOTHING_TESTED


@pytest.mark.parametrize("render", [text_summary, markdown_summary])
def test_the_summary_names_the_cell_the_test_and_the_command(tmp_path: Path, render: object) -> None:
    assert callable(render)
    splat = result("splat", tmp_path)
    text = render((result("passed", tmp_path), splat))
    assert "splat: c::t" in text
    assert f"again: {splat.again}" in text
    assert text.splitlines()[-1] == "nightly: splat, exit status 3, first in minimal-2cpu-nokaslr"


@pytest.mark.parametrize("render", [text_summary, markdown_summary])
def test_the_summary_gives_each_failure_its_reason_and_the_command_that_repeats_it_alone(
    tmp_path: Path, render: Callable[[Sequence[CellResult]], str]
) -> None:
    # given: a failure whose report names its node
    case = CaseOutcome("tests/guest/test_x.py::test_y[a b]", Outcome.SPLAT, "KernelOops: f (a.c:1): it", True)
    run = Suite(("tests/guest",), ("-x",), pytest=("pytest",))
    night = CellResult(CELL, CellVerdict(Outcome.SPLAT, (case,)), run, tmp_path, 1.0)

    lines = [line.strip() for line in render((night,)).splitlines()]

    at = lines.index("splat: tests/guest/test_x.py::test_y[a b]")
    assert lines[at + 1] == "KernelOops: f (a.c:1): it"
    assert lines[at + 2] == (
        "alone: pytest 'tests/guest/test_x.py::test_y[a b]'"
        " --kh-kernel=minimal --kh-cpus=2 --kh-cold --kh-append=nokaslr -x"
    )


def test_a_kernel_by_its_path_has_a_line_of_its_own_in_the_table(tmp_path: Path) -> None:
    cell = Cell(f"/home/somebody{'/linux' * 8}", 2, False)
    night = CellResult(cell, CellVerdict(Outcome.PASSED), Suite(()), tmp_path, 1.0)
    lines = text_summary((night,)).splitlines()
    assert lines[2] == cell.name and lines[3].split() == ["passed", "0", "0", "0", "1"]
    assert max(len(line) for line in lines if line != cell.name) <= 80


def test_a_terminal_has_its_outcomes_in_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    nights = (result("passed", tmp_path), result("splat", tmp_path))
    coloured = text_summary(nights, Terminal())
    assert "\x1b[1;32mpassed\x1b[0m" in coloured and "\x1b[1;31msplat\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text_summary(nights)
    monkeypatch.setenv("NO_COLOR", "1")
    assert text_summary(nights, Terminal()) == text_summary(nights)


def test_a_night_without_trouble_is_a_table_and_one_line(tmp_path: Path) -> None:
    lines = text_summary((result("passed", tmp_path),)).splitlines()
    assert lines[0].split() == ["cell", "outcome", "passed", "not", "passed", "skipped", "seconds"]
    assert lines[2].split()[:5] == ["minimal-2cpu-nokaslr", "passed", "1", "0", "0"]
    assert lines[-1] == "nightly: passed, exit status 0"
    assert len(lines) == 5


def test_interrupting_the_nightly_interrupts_pytest_once(tmp_path: Path) -> None:
    behaviour = f"""\
try:
    open({str(tmp_path / "ready")!r}, "w").close()
    signal.pause()
except KeyboardInterrupt:
    open({str(tmp_path / "ended")!r}, "w").write("torn down")
    sys.exit(2)
"""
    run = fake_pytest(tmp_path, behaviour)
    os.mkfifo(tmp_path / "ready")
    nightly = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path\n"
            "from kmod_harness.nightly.cells import Suite, run_cell\n"
            "from kmod_harness.nightly.matrix import Cell\n"
            "run_cell(Cell('minimal', 1, True), Suite((), pytest=tuple(sys.argv[2:])), Path(sys.argv[1]))",
            str(tmp_path / "cell"),
            *run.pytest,
        ],
        stderr=subprocess.DEVNULL,
    )
    (tmp_path / "ready").read_text()
    nightly.send_signal(signal.SIGINT)
    nightly.wait(20)
    assert (tmp_path / "ended").read_text() == "torn down"
