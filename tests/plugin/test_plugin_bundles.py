"""What a failed test leaves: one directory, whose script gives the same verdict again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.pytest_plugin.bundles import options_again
from plugin.strangers import RunSuite
from shared.cli_process import kmod_harness
from shared.schemas import require_schema

SUITE = """
import os
import pytest

def test_oops(guest):
    guest.load({faulty!r}, fault="oops", when="write")
    guest.open("/dev/faulty", os.O_WRONLY).write(b"x")

def test_panics(guest):
    guest.load({faulty!r}, fault="panic", timeout=20)

def test_hangs(guest):
    guest.load({faulty!r}, fault="block", process=guest.process(), timeout=1)

def test_unloads(guest):
    guest.load({faulty!r}, fault="oops", when="exit")

def test_passes(guest):
    assert "Linux" in guest.read_text("/proc/version")
"""


def test_each_failed_test_leaves_one_directory_that_tells_and_reproduces(
    run_suite: RunSuite, run_kernel: Kernel, faulty_ko: Path, tmp_path: Path
) -> None:
    # given: a suite with an oops, a panic, a hang, an oops after the test itself, and a test that passes
    bundles = tmp_path / "evidence"
    run = run_suite({"test_driver.py": SUITE.format(faulty=str(faulty_ko))}, f"--kh-bundles={bundles}")

    # then: one for each failure, none for the success
    names = sorted(path.name for path in bundles.iterdir())
    assert names == [f"test_driver.py-test_{name}" for name in ("hangs", "oops", "panics", "unloads")], (
        run.output
    )
    verdicts = {name: json.loads((bundles / name / "verdict.json").read_text()) for name in names}
    for verdict in verdicts.values():
        require_schema(verdict, "test-verdict")
    outcomes = {name: verdict["outcome"] for name, verdict in verdicts.items()}
    assert list(outcomes.values()) == ["hang", "splat", "panic", "splat"]

    # and: the report names the function's source line, the directory, and what the hanging guest said
    oops = bundles / "test_driver.py-test_oops"
    assert "faulty_oops+" in run.section("test_oops")
    assert str(oops) in run.section("test_oops")
    assert "faulty_block+" in (bundles / "test_driver.py-test_hangs" / "interrogation.txt").read_text()

    # and: what was asked of the agent, and guests that can be looked at again
    assert "finit_module(result 0, b'fault=oops when=write" in (oops / "agent.txt").read_text()
    states = {name: (bundles / name / "state.zst").exists() for name in names}
    dumps = {name: (bundles / name / "memory.elf.zst").exists() for name in names}
    if run_kernel.vmlinux is not None:
        assert list(states.values()) == [True] * 4
        assert list(dumps.values()) == [True, False, True, False]
        crash = kmod_harness("crash", oops)
        assert "faulty_oops" in crash.stdout.partition("Stack of")[2], crash.stderr

    # when: its script runs, in a new shell
    again = subprocess.run(
        [oops / "reproduce.sh"], cwd="/", capture_output=True, text=True, timeout=120, check=False
    )

    # then: the same verdict
    assert again.returncode == 1
    assert "KernelOops" in again.stdout and "1 failed" in again.stdout


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["-q", "--kh-cpus=2"], ["-q", "--kh-cpus=2"]),
        (["-n", "2", "-x"], ["-x"]),
        (["-n2", "--lf", "--junitxml=out.xml"], []),
        (["-k", "oops and not bug", "--junit-xml", "out.xml", "-m", "slow", "-v"], ["-v"]),
    ],
)
def test_a_reproduction_keeps_the_options_of_one_test(words: list[str], kept: list[str]) -> None:
    assert options_again(words) == kept
