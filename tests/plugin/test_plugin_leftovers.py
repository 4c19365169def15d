"""What a module leaves behind fails the test that unloaded it, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugin.strangers import RunSuite, SuiteRun

SUITE = """
import pytest

FAULTY, CHARDEV = {faulty!r}, {chardev!r}

def test_unloads_in_its_body(guest):
    guest.load(FAULTY, fault="leak_device").unload()

def test_leaves_the_unload_to_the_end(guest):
    guest.load(FAULTY, fault="leak_device")

@pytest.mark.leaves_behind
def test_may_leave_something(guest):
    guest.load(FAULTY, fault="leak_device").unload()

def test_leaves_nothing(guest):
    guest.load(CHARDEV).unload()

def test_fails_by_itself_first(guest):
    guest.load(FAULTY, fault="leak_device").unload()
    assert False, "on purpose"

def test_oopses_too(guest):
    guest.load(FAULTY, fault="oops", when="exit").unload()
"""


@pytest.fixture(scope="module")
def files(chardev_ko: Path, faulty_ko: Path) -> dict[str, str]:
    return {"test_driver.py": SUITE.format(chardev=str(chardev_ko), faulty=str(faulty_ko))}


@pytest.fixture(scope="module")
def suite(run_suite: RunSuite, files: dict[str, str]) -> SuiteRun:
    return run_suite(files)


@pytest.mark.parametrize(
    ("test", "status", "outcome"),
    [
        ("test_unloads_in_its_body", ("failure",), "failed"),
        ("test_leaves_the_unload_to_the_end", ("error",), "failed"),
        ("test_may_leave_something", ("passed",), "passed"),
        ("test_leaves_nothing", ("passed",), "passed"),
        ("test_fails_by_itself_first", ("failure",), "failed"),
        ("test_oopses_too", ("failure",), "splat"),
    ],
)
def test_each_test_answers_for_its_own_unloads(
    suite: SuiteRun, test: str, status: tuple[str, ...], outcome: str
) -> None:
    assert (suite.tests[test].status, suite.tests[test].outcome) == (status, outcome), suite.section(test)


def test_the_failure_says_what_was_left(suite: SuiteRun) -> None:
    said = suite.section("test_unloads_in_its_body")
    assert "LeftBehind: faulty left something behind after the unload" in said
    assert "/sys/class/misc/faulty exists" in said


def test_a_crash_is_the_only_story_of_its_test(suite: SuiteRun) -> None:
    section = suite.section("test_oopses_too").partition("short test summary")[0]
    assert "KernelOops" in section and "LeftBehind" not in section


def test_what_a_test_finds_itself_comes_before_what_was_left(suite: SuiteRun) -> None:
    section = suite.section("test_fails_by_itself_first").partition("short test summary")[0]
    assert "on purpose" in section and "LeftBehind" not in section
    assert "/sys/class/misc/faulty exists" in section


def test_nothing_is_looked_for_when_that_is_not_wanted(run_suite: RunSuite, files: dict[str, str]) -> None:
    found = run_suite(files, "--kh-no-leftovers", "-k", "unloads_in_its_body or leaves")
    assert {name: test.outcome for name, test in found.tests.items()} == {
        "test_unloads_in_its_body": "passed",
        "test_leaves_the_unload_to_the_end": "passed",
        "test_may_leave_something": "passed",
        "test_leaves_nothing": "passed",
    }
