"""`kmod-harness` as a real subprocess, for the tests of the command line."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.schemas import require_schema

COMMAND = (sys.executable, "-m", "kmod_harness.cli.main")
#: Seconds no run of these tests comes near: a hung one ends with a failure, not with the suite.
PATIENCE = 60
#: Commands that boot what --kernel and --rootfs name.
_BOOTING = ("boot", "debug", "demo", "explain", "run", "verify")


@dataclass(frozen=True)
class Machine:
    """What the options of this run of pytest name: words of a command line, () for the default."""

    kernel: tuple[str, ...] = ()
    rootfs: tuple[str, ...] = ()


#: Set by conftest.py.
machine = Machine()


def command_line(*arguments: str | Path) -> list[str]:
    """Returns the words of a command line; one that leaves its machine open gets the machine of this run.

    A module says itself which kernel it is for, and a kept guest which machine it was.
    """
    words = list(map(str, arguments))
    ours = words[: words.index("--")] if "--" in words else words
    if words[0] in _BOOTING and not {"--kernel", "--from"} & set(ours):
        kernel = () if any(word.endswith(".ko") for word in ours) else machine.kernel
        words[1:1] = [*kernel, *(() if "--rootfs" in ours else machine.rootfs)]
    return [*COMMAND, *words]


def kmod_harness(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Returns a finished run of the command line."""
    words = command_line(*arguments)
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False, **options)


def unwrapped(text: str) -> str:
    """Returns a message as one line, however wide the terminal is."""
    return " ".join(text.split())


def run_json(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
    """Returns the exit status of `run --json` and its object; stdout must hold nothing else."""
    done = kmod_harness("run", "--json", *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    found = json.loads(done.stdout)
    assert found["exit_status"] == done.returncode
    require_schema(found, "run")
    return done.returncode, found


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Returns a started command line with its three streams."""
    return subprocess.Popen(
        command_line(*arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(stream: Any, text: str) -> str:
    """Returns what the stream gave, up to the line that holds `text`; fails at its end."""
    seen = ""
    for line in stream:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} never came; it said: {seen}")


def children(pid: int) -> list[int]:
    """Returns the pids of a process's children, whichever of its threads forked them (proc(5))."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def await_end(pid: int, seconds: float = 5.0) -> None:
    """Returns when the process has ended; fails after `seconds`."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], seconds)[0], f"process {pid} still runs"
    finally:
        os.close(fd)


def run_directory_of(qemu: int) -> Path:
    """Returns the private directory of a QEMU started by the harness, from its command line."""
    words = Path(f"/proc/{qemu}/cmdline").read_text().split("\0")
    word = next(word for word in words if "logfile=" in word)
    return Path(word.rpartition("logfile=")[2]).parent
