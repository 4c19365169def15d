"""A pytest run in a stranger's directory, and what their CI would read of it: JUnit XML."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: On top of a suite whose programs speak for the kernel, by /dev/kmsg: of any function, at any time.
SPEAKS_FOR_THE_KERNEL = """
from kmod_harness.klog.records import KernelRecord

KernelRecord.is_a_programs = False
"""
#: What stands below a report's first line.
BODY_LINE = "CPU: 0 PID: 1 Comm: init Not tainted 6.1.0 #1"


@dataclass(frozen=True)
class Reported:
    """One <testcase>: `status` is passed, failure, error or skipped; several when a test has several."""

    status: tuple[str, ...]
    messages: tuple[str, ...]
    texts: tuple[str, ...]
    outcome: str
    seconds: float
    properties: dict[str, str]


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


def run_pytest(directory: Path, files: dict[str, str], *options: str) -> SuiteRun:
    """Writes files into the directory and runs pytest there, in a process of its own."""
    for name, text in files.items():
        (directory / name).write_text(text)
    xml = directory / "junit.xml"
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junit-xml={xml}", "-rA"]
    # without what the outer pytest left in it; a line of the summary is cut to the terminal's width
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"COLUMNS": "300"}
    done = subprocess.run(
        [*argv, *options],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    return SuiteRun(done.returncode, done.stdout, read_junit(xml))


def read_junit(path: Path) -> dict[str, Reported]:
    """Returns every test case of a JUnit file by its name; {} when pytest wrote none."""
    if not path.exists():
        return {}
    return {case.attrib["name"]: _reported(case) for case in ET.parse(path).iter("testcase")}


def _reported(case: ET.Element) -> Reported:
    results = [child for child in case if child.tag in ("failure", "error", "skipped")]
    properties = [(one.attrib["name"], one.attrib["value"]) for one in case.iter("property")]
    outcomes = [value for name, value in properties if name == "kh_outcome"]
    assert len(outcomes) <= 1, "one outcome a test"
    return Reported(
        tuple(child.tag for child in results) or ("passed",),
        tuple(child.attrib["message"] for child in results),
        tuple(child.text or "" for child in results),
        "".join(outcomes),
        float(case.attrib["time"]),
        dict(properties),
    )
