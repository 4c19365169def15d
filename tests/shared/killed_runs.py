"""Harness processes that are killed, and what the machine looks like afterwards; all from /proc."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
from pathlib import Path

#: Boots a guest and uses it until it is killed; every run directory lies below TMPDIR.
RUN = """
import sys
from kmod_harness import Spec, boot, prepare
prepared = prepare(Spec(kernel=sys.argv[1]))
print("prepared", flush=True)
with boot(prepared) as guest:
    print("booted", flush=True)
    while True:
        guest.run(["true"])
"""


def start_run(base: Path, kernel: str) -> subprocess.Popen[bytes]:
    """Returns a harness whose run directory will lie below `base`, once it is about to boot."""
    environment = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, kernel], env={**environment, "TMPDIR": str(base)}, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"prepared\n"
    return process


def qemus(base: Path) -> dict[int, str]:
    """Returns pid -> state of every process whose command line names a path below `base`."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if b"qemu" in words.split(b"\0")[0] and os.fsencode(base) in words:
            found[int(entry.name)] = state
    return found


def has_ended_within(pid: int, seconds: float) -> bool:
    """True when the process ends within that time, or has ended already."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], seconds)[0])
    finally:
        os.close(pidfd)


def await_death(base: Path, seconds: float = 5.0) -> dict[int, str]:
    """Waits until no QEMU of `base` runs; returns those that still do, zombies left out."""
    for pid in qemus(base):
        has_ended_within(pid, seconds)
    return {pid: state for pid, state in qemus(base).items() if state != "Z"}


def kill_at_random(base: Path, kernel: str, count: int, rng: random.Random, longest: float = 3.0) -> int:
    """Kills `count` runs by SIGKILL, each after 0 to `longest` seconds; returns how many had a QEMU.

    Raises AssertionError, with pids and states, when a QEMU outlives its harness.
    """
    with_qemu = 0
    for _ in range(count):
        run = start_run(base, kernel)
        try:
            # not a wait for something to happen: the moment of the kill is the experiment
            assert not has_ended_within(run.pid, rng.uniform(0, longest)), "the run ended by itself"
            with_qemu += bool(qemus(base))
        finally:
            run.kill()
            run.communicate()
        left = await_death(base)
        assert left == {}, f"QEMU outlived its harness: {left}"
    return with_qemu
