"""Restored guests: how soon they answer, what a test costs on them, what they weigh."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from figures import Figure, seconds

from kmod_harness import Guest, Prepared
from kmod_harness.errors import ProcessKilled
from kmod_harness.lifecycle.standby import GuestSource

#: What the 200 tests of the xdist comparison are.
SUITE = """
import os, pytest

@pytest.mark.parametrize("number", range({count}))
def test_loads_and_writes(guest, number):
    with guest.load({module!r}), guest.open("/dev/chardev0", os.O_WRONLY) as device:
        assert device.write(b"x") == 1
"""


def measure_restores(prepared: Prepared, rounds: int) -> Iterable[Figure]:
    """Alternates: restored when asked for, waiting on standby, and restored at 1 GiB of RAM."""
    large = replace(prepared, spec=replace(prepared.spec, memory_mib=1024))
    new, waiting, big, new_command, command = [], [], [], [], []
    with (
        GuestSource(prepared, standby=False) as restored,
        GuestSource(prepared, standby=True) as standby,
        GuestSource(large, standby=False) as restored_large,
    ):
        for source in (restored, standby, restored_large):
            _first_answer(source)
        for _ in range(rounds):
            new.append(_first_answer(restored))
            waiting.append(_first_answer(standby))
            big.append(_first_answer(restored_large))
            new_command.append(_first_command(restored))
            command.append(_first_command(standby))
    yield Figure("restore, to the first answer", "s", tuple(new))
    yield Figure("restore at 1 GiB, to the first answer", "s", tuple(big))
    yield Figure("restore, to the first command", "s", tuple(new_command))
    yield Figure("standby, to the first answer", "s", tuple(waiting))
    yield Figure("standby, to the first command", "s", tuple(command))


def _first_answer(source: GuestSource) -> float:
    started = time.perf_counter()
    with source.guest() as guest:
        guest.syscaller.call("getpid")
        took = time.perf_counter() - started
        # the one on standby is made ready while a test runs; here nothing else runs
        _await_standby(source)
    return took


def _first_command(source: GuestSource) -> float:
    started = time.perf_counter()
    with source.guest() as guest:
        assert guest.run(["/bin/echo", "READY"]).stdout == b"READY\n"
        took = time.perf_counter() - started
        _await_standby(source)
    return took


def _await_standby(source: GuestSource) -> None:
    if source._next is not None:
        source._next.exception()


def measure_tests(prepared: Prepared, modules: Path, count: int) -> Iterable[Figure]:
    """What a test costs from asking for its guest to giving it back, one after the other, with a standby."""
    with GuestSource(prepared, standby=True) as source:
        yield Figure(
            "a test: load, write, unload, judge",
            "s",
            tuple(seconds(lambda: _write(source, modules)) for _ in range(count)),
        )
        yield Figure(
            "a test: load, oops, judge",
            "s",
            tuple(seconds(lambda: _oops(source, modules)) for _ in range(count)),
        )


def _write(source: GuestSource, modules: Path) -> None:
    with source.guest() as guest:
        with (
            guest.load(modules / "chardev/chardev.ko"),
            guest.open("/dev/chardev0", os.O_WRONLY) as device,
        ):
            assert device.write(b"x") == 1
        assert not guest.judge(len(guest.kernel_log.records))


def _oops(source: GuestSource, modules: Path) -> None:
    with source.guest() as guest:
        mark = guest.kernel_log.mark()
        guest.load(modules / "faulty/faulty.ko", fault="oops", when="write")
        with contextlib.suppress(ProcessKilled):
            guest.open("/dev/faulty", os.O_WRONLY).write(b"x")
        assert [splat.kind for splat in guest.judge(mark)] == ["OOPS"]


def measure_clones(prepared: Prepared) -> Iterable[Figure]:
    """Private memory of each of four guests of one template at once (smaps_rollup, proc(5))."""
    with GuestSource(prepared, standby=False) as source, contextlib.ExitStack() as alive:
        guests = [alive.enter_context(source.guest()) for _ in range(4)]
        for guest in guests:
            guest.run(["true"])
        yield Figure("private memory of a clone", "MiB", tuple(_private_mib(guest) for guest in guests))


def _private_mib(guest: Guest) -> float:
    lines = Path(f"/proc/{guest.machine.pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def measure_xdist(module: Path, count: int) -> Iterable[Figure]:
    """The same tests in one process, which has a guest on standby, and in workers, which have none.

    Alternately, twice. Seconds, and seconds of CPU per test, QEMU's included.
    """
    ways: dict[str, list[str]] = {
        "no xdist": [],
        "one xdist worker": ["-n1"],
        "two xdist workers": ["-n2"],
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as directory:
        suite = Path(directory, "test_suite.py")
        suite.write_text(SUITE.format(count=count, module=str(module)))
        command = [sys.executable, "-m", "pytest", "-q", str(suite), "-p", "no:cacheprovider"]
        for _ in range(2):
            for name, more in ways.items():
                run = [*command, *more]
                before = _children_seconds()
                times[name].append(
                    seconds(lambda r=run: subprocess.run(r, check=True, capture_output=True, cwd=directory))
                )
                cpu[name].append((_children_seconds() - before) / count)
    for name in ways:
        yield Figure(f"{count} tests, {name}", "s", tuple(times[name]))
    for name in ways:
        yield Figure(f"CPU per test, {name}", "s", tuple(cpu[name]))


def _children_seconds() -> float:
    """Returns the seconds of CPU of all processes that have ended below this one, user and system."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
