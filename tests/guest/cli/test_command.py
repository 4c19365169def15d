"""The command of a run: what it reads, what it says and when, and what is left of one that took too long."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from shared.cli_process import COMMAND, PATIENCE, run_json, start


def fed(data: bytes, *command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, "run", "--no-bundle", "--", *command], input=data, capture_output=True, timeout=PATIENCE
    )


@pytest.mark.parametrize("data", [b"", b"a\nb\n", os.urandom(200_000), b"no newline"], ids=len)
def test_a_command_reads_what_this_machine_gives(data: bytes) -> None:
    run = fed(data, "cat")
    assert (run.returncode, run.stdout) == (0, data), run.stderr


def test_a_command_that_reads_less_than_it_is_given_ends_all_the_same() -> None:
    run = fed(b"line\n" * 100_000, "head", "-n", "1")
    assert (run.returncode, run.stdout) == (0, b"line\n"), run.stderr


def test_a_command_that_reads_nothing_waits_for_no_input() -> None:
    reading, writing = os.pipe()
    try:
        run = subprocess.run(
            [*COMMAND, "run", "--", "true"], stdin=reading, capture_output=True, timeout=PATIENCE
        )
        assert run.returncode == 0, run.stderr
    finally:
        os.close(reading)
        os.close(writing)


def test_a_line_comes_while_the_command_still_runs() -> None:
    process = start("run", "--no-bundle", "--", "sh", "-c", "echo first; sleep 3; echo second")
    assert process.stdout is not None
    assert process.stdout.readline() == "first\n"
    first = time.monotonic()
    assert process.stdout.readline() == "second\n"
    assert time.monotonic() - first > 1.5
    assert process.wait(PATIENCE) == 0


def test_what_an_overdue_command_had_said_is_kept() -> None:
    status, found = run_json("--timeout", "2", "--", "sh", "-c", "seq 5000; echo oh >&2; sleep 99")
    assert (status, found["outcome"]) == (5, "hang")
    assert len(found["command"]["stdout"]) == 23893
    assert found["command"]["stderr"] == "oh\n"
