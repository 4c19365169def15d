"""Runs pytest on suites in a stranger's directory and reads what their CI would read: JUnit XML."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Reported:
    """One <testcase>: `status` is passed, failure, error or skipped; several when a test has several."""

    status: tuple[str, ...]
    messages: tuple[str, ...]
    texts: tuple[str, ...]
    outcome: str


@dataclass(frozen=True)
class SuiteRun:
    """A pytest process that has ended; `tests` by name, without class and file."""

    status: int
    output: str
    tests: dict[str, Reported]

    def section(self, test: str) -> str:
        """Returns what the terminal says about one failed test."""
        _, _, rest = self.output.partition(f"_ {test} _")
        return rest.partition("\n____")[0]


RunSuite = Callable[..., SuiteRun]


@pytest.fixture(scope="session")
def kernel_option(pytestconfig: pytest.Config) -> list[str]:
    """The kernel that this run of the suite uses, for the runs inside it."""
    kernel = pytestconfig.getoption("kh_kernel") or pytestconfig.getini("kh_kernel")
    return [f"--kh-kernel={kernel}"] if kernel else []


@pytest.fixture(scope="session")
def run_suite(tmp_path_factory: pytest.TempPathFactory, kernel_option: list[str]) -> RunSuite:
    """Returns a function that writes files into a new directory and runs pytest there."""

    def run(files: dict[str, str], *options: str, environment: dict[str, str] | None = None) -> SuiteRun:
        directory = tmp_path_factory.mktemp("stranger")
        for name, text in files.items():
            (directory / name).write_text(text)
        xml = directory / "junit.xml"
        argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={xml}", "-rA"]
        done = subprocess.run(
            [*argv, *kernel_option, *options],
            cwd=directory,
            env=clean_environment(environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
        )
        return SuiteRun(done.returncode, done.stdout, read_junit(xml))

    return run


def clean_environment(more: dict[str, str]) -> dict[str, str]:
    """Returns this process's environment without what the outer pytest left in it."""
    outer = ("PYTEST_", "COV_")
    return {name: value for name, value in os.environ.items() if not name.startswith(outer)} | more


def read_junit(path: Path) -> dict[str, Reported]:
    """Returns every test case of a JUnit file by its name; {} when pytest wrote none."""
    if not path.exists():
        return {}
    return {case.attrib["name"]: _reported(case) for case in ET.parse(path).iter("testcase")}


def _reported(case: ET.Element) -> Reported:
    results: Sequence[ET.Element] = [child for child in case if child.tag in ("failure", "error", "skipped")]
    outcomes = [p.attrib["value"] for p in case.iter("property") if p.attrib["name"] == "kh_outcome"]
    assert len(outcomes) <= 1, "one outcome a test"
    return Reported(
        tuple(child.tag for child in results) or ("passed",),
        tuple(child.attrib["message"] for child in results),
        tuple(child.text or "" for child in results),
        "".join(outcomes),
    )
