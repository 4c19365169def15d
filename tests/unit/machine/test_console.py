"""The console's log file: a wait on it wakes when it grows, and no byte is lost or read twice."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmod_harness.machine.console import ConsoleLog


@pytest.fixture
def console(tmp_path: Path) -> Iterator[ConsoleLog]:
    log = ConsoleLog(tmp_path / "console.log")
    yield log
    log.close()


def wakes(console: ConsoleLog, seconds: float) -> bool:
    return bool(select.select([console.fileno()], [], [], seconds)[0])


def test_the_file_is_there_for_its_owner_alone_before_qemu_writes(console: ConsoleLog) -> None:
    assert console.path.stat().st_mode & 0o777 == 0o600
    assert console.read_new() == b""
    assert not wakes(console, 0)


def test_a_write_by_another_process_wakes_the_wait(console: ConsoleLog) -> None:
    with subprocess.Popen(["sh", "-c", f"sleep 0.1; echo hello >> {console.path}"]):
        assert wakes(console, 10)
    assert console.read_new() == b"hello\n"
    assert not wakes(console, 0)


def test_what_was_read_is_not_read_again(console: ConsoleLog) -> None:
    with open(console.path, "ab", buffering=0) as file:
        file.write(b"one")
        assert console.read_new() == b"one"
        file.write(b"two")
        assert wakes(console, 1)
        assert console.read_new() == b"two"
    assert console.read_new() == b""


def test_a_truncation_at_qemus_start_loses_nothing(console: ConsoleLog) -> None:
    with open(console.path, "wb", buffering=0) as file:
        file.write(b"SeaBIOS")

    assert wakes(console, 1)
    assert console.read_new() == b"SeaBIOS"


def test_many_writes_between_two_waits_are_one_wake_with_all_bytes(console: ConsoleLog) -> None:
    with open(console.path, "ab", buffering=0) as file:
        for number in range(3000):
            file.write(b"%d\n" % number)

    taken = b""
    while wakes(console, 0):
        taken += console.read_new()
    assert taken == b"".join(b"%d\n" % number for number in range(3000))


def test_the_tail_is_the_last_lines_whatever_was_read(console: ConsoleLog) -> None:
    console.path.write_bytes(b"".join(b"line %d\r\n" % number for number in range(10000)) + b"\xff no end")
    console.read_new()

    assert console.tail(2) == "line 9999\n\N{REPLACEMENT CHARACTER} no end"
    assert len(console.tail(25).splitlines()) == 25


def test_closing_gives_its_descriptors_back(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    ConsoleLog(tmp_path / "console.log").close()

    assert len(os.listdir("/proc/self/fd")) == before
