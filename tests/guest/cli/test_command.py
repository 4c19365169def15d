"""The command of a run: what it reads, what it says and when, and what is left of one that took too long."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from shared.cli_process import PATIENCE, command_line, kmod_harness, run_json, start, unwrapped


def fed(data: bytes, *command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command_line("run", "--no-bundle", "--", *command), input=data, capture_output=True, timeout=PATIENCE
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
            command_line("run", "--", "true"), stdin=reading, capture_output=True, timeout=PATIENCE
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


def test_a_command_finds_what_lies_beside_it_here(tmp_path: Path, faulty_ko: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/common.sh").write_text("insmod faulty.ko fault=warn\n")
    (tmp_path / "faulty.ko").write_bytes(faulty_ko.read_bytes())
    script = tmp_path / "check.sh"
    script.write_text("#!/bin/sh\n. ./lib/common.sh\n")
    script.chmod(0o755)

    run = kmod_harness("run", "--no-bundle", "--push", ".", "--", "./check.sh", cwd=tmp_path)

    assert run.returncode == 3, run.stderr
    # the module was loaded by the command: its lines are found all the same
    assert "faulty/traps.c:" in run.stderr


def test_what_a_module_says_is_shown_and_no_programs_words(chardev_ko: Path) -> None:
    run = kmod_harness("run", chardev_ko, "--", "sh", "-c", "echo FORGED > /dev/kmsg")
    said = unwrapped(run.stderr)
    assert "] chardev: loaded: major" in said and "] chardev: unloaded" in said
    assert "FORGED" not in said and "taints kernel" not in said


def test_a_reader_that_is_slow_costs_the_command_no_time() -> None:
    # more than a pipe and the harness's buffers hold
    process = start("run", "--no-bundle", "--timeout", "3", "--", "seq", "200000")
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "1\n"
    # the reader's pause itself, longer than the command may take
    time.sleep(4)
    assert process.stdout.read().endswith("\n200000\n")
    said = process.stderr.read()
    assert process.wait(PATIENCE) == 0, said


def test_what_an_overdue_command_had_said_is_kept() -> None:
    status, found = run_json("--timeout", "2", "--", "sh", "-c", "seq 5000; echo oh >&2; sleep 99")
    assert (status, found["outcome"]) == (5, "hang")
    assert len(found["command"]["stdout"]) == 23893
    assert found["command"]["stderr"] == "oh\n"


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (("--param", "fault=init_error"), 0),
        (("--param", "fault=oops", "--param", "when=write"), 1),
        (("--param", "fault=warn"), 3),
    ],
)
def test_a_load_that_has_to_fail(faulty_ko: Path, options: tuple[str, ...], status: int) -> None:
    found = run_json(faulty_ko, *options, "--no-bundle", "--expect-load-error", "EIO")
    assert found[0] == status
    if status == 1:
        assert found[1]["reason"].startswith("the expected load error EIO")
