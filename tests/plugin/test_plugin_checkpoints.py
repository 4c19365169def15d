"""Checkpoints in a session: which guests wait for whom, and until when; what a wrong name says."""

from __future__ import annotations

import re

import pytest

from plugin.strangers import RunSuite

CONFTEST = """
import pathlib
import pytest

@pytest.fixture(scope="session")
def prepared(machine):
    with machine.guest() as guest:
        guest.write_file("/root/prepared", b"once")
        guest.checkpoint("prepared")

@pytest.fixture
def qemus():
    def count():
        told = pathlib.Path("/proc/self/task").glob("*/children")
        children = [pid for file in told for pid in file.read_text().split()]
        return sum("qemu" in pathlib.Path("/proc", pid, "comm").read_text() for pid in children)
    return count
"""

BRANCHES = """
import pytest

@pytest.fixture(scope="module")
def pristine(machine, prepared):
    return machine.checkpoint("prepared")

@pytest.mark.parametrize("again", range(3))
def test_branches(guest, again, machine, qemus):
    assert guest.read_file("/root/prepared") == b"once"
    source = machine.checkpoint("prepared")._source
    if source is not None and source._next is not None:
        source._next.result()
        print("waits for test", again + 1)
"""

AFTERWARDS = """
def test_afterwards(machine, guest, qemus):
    if machine.standard._next is not None:
        machine.standard._next.result()
    assert not guest.exists("/root/prepared")
    print("QEMUs:", qemus())

def test_direct(machine, guest, prepared, qemus):
    if machine.standard._next is not None:
        machine.standard._next.result()
    before = qemus()
    with machine.checkpoint("prepared").guest() as other:
        assert other.exists("/root/prepared")
        assert qemus() == before + 1
    assert qemus() == before

def test_wrong_name(machine, prepared):
    machine.checkpoint("prepaird")
"""


@pytest.mark.parametrize(
    ("options", "waiting", "left"),
    [((), ["2", "3"], 2), (("--kh-unrestored",), [], 1), (("--kh-cold",), [], 1)],
)
def test_what_waits_for_a_checkpoint_s_tests_ends_with_them(
    run_suite: RunSuite, options: tuple[str, ...], waiting: list[str], left: int
) -> None:
    files = {"conftest.py": CONFTEST, "test_a.py": BRANCHES, "test_b.py": AFTERWARDS}
    run = run_suite(files, *options)
    assert {name: reported.status for name, reported in run.tests.items()} == {
        **{f"test_branches[{again}]": ("passed",) for again in range(3)},
        "test_afterwards": ("passed",),
        "test_direct": ("passed",),
        "test_wrong_name": ("failure",),
    }, run.output
    # from the second test on, since a checkpoint may be asked for once
    assert re.findall(r"^waits for test (\d)$", run.output, re.MULTILINE) == waiting
    # the test's own guest and the one on standby for the next
    assert f"QEMUs: {left}\n" in run.output
    text = run.tests["test_wrong_name"].texts[0]
    assert text.startswith("Misuse: there is no checkpoint 'prepaird'\n  saved until now: prepared\n")
