"""What the kernel reports late, in guests that several tests share: an error of the test that did it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from plugin.strangers import SPEAKS_FOR_THE_KERNEL, RunSuite, SuiteRun

SUITE = """
import pytest

@pytest.fixture(scope="module")
def shared(machine):
    with machine.guest() as guest:
        yield guest

def test_leaves_a_writer(shared):
    shared.load({faulty!r}, fault="warn", when="write")
    line = "mkfifo /root/now; (read go < /root/now; echo x > /dev/faulty) &"
    shared.run(["sh", "-c", line]).check()

def test_only_sees_it(shared):
    shared.write_file("/root/now", b"go\\n")
    shared.kernel_log.await_text("end trace")

def says(guest, function):
    for line in (
        f"WARNING: CPU: 0 PID: 7 at kernel/late.c:1 {{function}}",
        "CPU: 0 PID: 7 Comm: kworker/0:1 Not tainted 6.1.0 #1",
        f"RIP: 0010:{{function}}",
        "---[ end trace 0000000000000000 ]---",
    ):
        guest.write_file("/dev/kmsg", f"<4>{{line}}\\n".encode())

def test_queues_work(guest):
    guest.load({chardev!r})

def test_sees_a_module_that_is_gone(guest):
    says(guest, "chardev_late_work+0x1/0x2 [chardev]")

def test_is_to_blame_itself(guest):
    says(guest, "anything+0x1/0x2")

@pytest.fixture(scope="session")
def after_the_last(pristine):
    yield
    kept = pristine._kept.guest
    kept.write_file("/root/now", b"go\\n")
    kept.kernel_log.await_text("end trace")

def test_the_last(guest, after_the_last):
    report = "WARNING: CPU: 0 PID: $me at kernel/late.c:1 of_the_last+0x1/0x2"
    end = "---[ end trace 0000000000000000 ]---"
    line = (
        "mkfifo /root/now; (me=$(exec sh -c 'echo $PPID'); read go < /root/now;"
        f" echo '<4>'\\"{{report}}\\" > /dev/kmsg;"
        " echo '<4>CPU: 0 PID: '$me' Comm: sh Not tainted 6.1.0 #1' > /dev/kmsg;"
        f" echo '<4>{{end}}' > /dev/kmsg) &"
    )
    guest.run(["sh", "-c", line]).check()
"""


@pytest.fixture(scope="module")
def suite(faulty_ko: Path, chardev_ko: Path) -> dict[str, str]:
    return {
        "test_late.py": SPEAKS_FOR_THE_KERNEL + SUITE.format(faulty=str(faulty_ko), chardev=str(chardev_ko))
    }


def summary(run: SuiteRun) -> set[tuple[str, str]]:
    """(status, test) of the lines of pytest's own summary, one a report."""
    lines = [line.split() for line in run.output.partition("short test summary")[2].splitlines()]
    return {(words[0], words[1].partition("::")[2]) for words in lines if len(words) > 1 and "::" in words[1]}


def test_a_late_report_is_an_error_of_the_test_whose_task_or_module_it_names(
    run_suite: RunSuite, suite: dict[str, str], tmp_path: Path
) -> None:
    xml = tmp_path / "late.xml"
    run = run_suite(suite, "--kh-unrestored", f"--junit-xml={xml}")

    passed = ("leaves_a_writer", "only_sees_it", "queues_work", "sees_a_module_that_is_gone", "the_last")
    assert summary(run) == {
        *(("PASSED", f"test_{name}") for name in passed),
        ("ERROR", "test_leaves_a_writer"),
        ("ERROR", "test_queues_work"),
        ("FAILED", "test_is_to_blame_itself"),
        ("ERROR", "test_the_last"),
    }, run.output
    assert run.status == 1
    # and: it says what, and when it came
    errors = {
        case.attrib["name"]: " ".join((error.text or "").split())
        for case in ET.parse(xml).iter("testcase")
        for error in case.iter("error")
    }
    assert errors["test_leaves_a_writer"].startswith("KernelWarning: faulty_warn")
    assert (
        "after the test had ended, during test_late.py::test_only_sees_it" in errors["test_leaves_a_writer"]
    )
    assert "during test_late.py::test_sees_a_module_that_is_gone" in errors["test_queues_work"]
    assert "WARNING in of_the_last" in errors["test_the_last"]


def test_under_xdist_the_running_test_tells_who_did_it(run_suite: RunSuite, suite: dict[str, str]) -> None:
    run = run_suite(suite, "--kh-unrestored", "-n1", "-k", "writer or only_sees")
    assert summary(run) == {("PASSED", "test_leaves_a_writer"), ("FAILED", "test_only_sees_it")}, run.output
    told = " ".join(run.section("test_only_sees_it").split())
    assert "which test_late.py::test_leaves_a_writer did, after it had ended" in told
