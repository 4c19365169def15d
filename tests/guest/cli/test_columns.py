"""What the commands print for people fits a terminal of 80 columns: prose is wrapped, all else left whole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from shared.cli_process import COMMAND, PATIENCE, kmod_harness, unwrapped

#: What is quoted or to be copied: the kernel's own lines, source code, commands.
_QUOTED = re.compile(r"\s*\[ *\d+\.\d+\] |\s*>? *\d+ |[>E] |.* -m pytest |\S+: \S+python\S* ")
#: A word of this length is a path, and no line can be broken in it.
_PATH = 50

SUITE = """
import os

def test_warns(guest):
    guest.load({faulty!r}, fault="warn")

def test_oopses(guest):
    guest.load({faulty!r}, fault="oops")

def test_hangs(guest):
    guest.load({faulty!r}, fault="block", timeout=1)

def test_asks_for_what_is_not_there(guest):
    guest.read_text("/nowhere")

def test_loads_what_is_no_module(guest):
    guest.load("/etc/passwd")
"""


def overlong(text: str) -> list[str]:
    """Returns the lines of prose that have more than 80 characters."""
    return [
        line
        for line in text.splitlines()
        if len(line) > 80 and not _QUOTED.match(line) and not any(len(word) > _PATH for word in line.split())
    ]


def test_the_measure_tells_prose_from_what_is_quoted() -> None:
    prose = "kernel 6.1 (minimal), tcg: software emulation, because a guest under KVM ran no instruction"
    quoted = (
        f"[    1.000000] {prose}\n   12 {prose}\nagain: /usr/bin/python3 -m pytest {prose}\n/a{'/b' * 40}"
    )
    assert overlong(f"{prose}\n{quoted}") == [prose]


@pytest.mark.parametrize("fault", ["oops", "warn", "panic", "block"])
def test_a_run_that_fails(faulty_ko: Path, tmp_path: Path, run_kernel: Kernel, fault: str) -> None:
    bundle = tmp_path / "bundle"
    parameters = ("--param", f"fault={fault}", "--timeout", "2", "--bundle", bundle)
    done = kmod_harness("run", faulty_ko, *parameters)
    assert done.returncode in (3, 4, 5), done.stderr
    assert f"faulty_{fault}" in done.stderr
    assert overlong(done.stderr) == []
    if fault == "panic" and run_kernel.vmlinux is not None:
        told = kmod_harness("crash", bundle)
        assert "Globals of faulty" in told.stdout
        assert overlong(told.stdout) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "/etc/passwd"), "is not an ELF file"),
        (("run", "nosuch.ko"), "no such file"),
        (("run", "--expect-splat", "noise", "--", "true"), "no kind 'noise'"),
        (("run", "--rootfs", "/nonexistent", "--", "true"), "there is no root file system"),
        (("run", "--nosuch"), "unknown arguments"),
        (("verify", "/etc/passwd"), "is not an ELF file"),
        (("crash", "/nonexistent"), "is not a bundle"),
        (("frobnicate",), "invalid choice"),
        (("doctor", "miracles"), "miracles"),
    ],
)
def test_a_mistake_is_told_once(arguments: tuple[str, ...], said: str) -> None:
    done = kmod_harness(*arguments)
    assert done.returncode == 2
    told = unwrapped(done.stderr)
    assert told.count(said) == 1, told
    assert overlong(done.stdout + done.stderr) == []


def test_a_run_that_passes(chardev_ko: Path) -> None:
    done = kmod_harness("run", chardev_ko, "--", "true")
    assert done.returncode == 0, done.stderr
    assert overlong(done.stderr) == []


def test_verify(chardev_ko: Path, chardev_stats_ko: Path) -> None:
    done = kmod_harness("verify", chardev_ko, chardev_stats_ko)
    assert "total: 2 modules" in done.stdout, done.stderr
    assert overlong(done.stdout + done.stderr) == []


def test_doctor() -> None:
    done = kmod_harness("doctor")
    assert "accelerator" in done.stdout
    assert overlong(done.stdout) == []


def test_pytest_and_nightly(faulty_ko: Path, chardev_ko: Path, tmp_path: Path, run_kernel: Kernel) -> None:
    (tmp_path / "test_my.py").write_text(SUITE.format(faulty=str(faulty_ko), chardev=str(chardev_ko)))
    # for a CI, pytest cuts no line of its summary (_pytest/compat.py, running_on_ci): no terminal shows it
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTEST_") and name not in ("CI", "BUILD_NUMBER")
    }

    def run(*words: str) -> str:
        done = subprocess.run(
            words,
            cwd=tmp_path,
            env={**environment, "COLUMNS": "80"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE * 4,
            check=False,
        )
        return done.stdout

    told = run(sys.executable, "-m", "pytest", f"--kh-kernel={run_kernel.name}", "test_my.py")
    assert "5 failed" in told, told
    assert overlong(told) == []
    summary = told.partition("short test summary info")[2]
    assert "KernelOops: faulty_oops" in summary and "KernelWarning: faulty_warn" in summary

    # and: the summary of a night, which repeats its first lines
    told = run(
        *(*COMMAND, "nightly", "test_my.py", "--kernel", run_kernel.name, "--cpus", "1"),
        *("--out", str(tmp_path / "night"), "--", "-k", "nowhere or no_module or not_there"),
    )
    assert told.count("FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'") == 2, told
    assert overlong(told) == []
