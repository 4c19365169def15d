"""What a failed test shows of a guest: nothing twice, nothing that nobody asked for."""

from __future__ import annotations

from kmod_harness.pytest_plugin.failure.evidence import Evidence

LOG = ["[ 1.0] hello", "[ 2.0] BUG", "[ 2.1] more of it", "[ 3.0] bye"]


def titles(evidence: Evidence, *, is_verbose: bool = False) -> list[str]:
    return [title for title, _ in evidence.sections("", (), is_verbose=is_verbose)]


def test_lines_that_stand_above_already_are_counted() -> None:
    evidence = Evidence(LOG, "", "", "qemu")
    ((_, log),) = evidence.sections("", LOG[1:3], is_verbose=False)
    assert log.splitlines() == ["[ 1.0] hello", "... 2 lines that are shown above ...", "[ 3.0] bye"]
    ((_, log),) = evidence.sections("", LOG[3:], is_verbose=False)
    assert log.splitlines()[-1] == "... one line that is shown above ..."


def test_what_a_hanging_guest_answered_is_not_shown_in_its_log_again() -> None:
    (_, asked), (_, log) = Evidence(LOG, "[ 3.0] bye", "", "").sections("", (), is_verbose=False)
    assert asked == "[ 3.0] bye"
    assert log.splitlines()[-1] == "... one line that is shown above ..."


def test_a_kernel_that_said_nothing_is_told_in_a_line() -> None:
    ((title, log),) = Evidence((), "", "", "").sections(" (guest 2)", (), is_verbose=False)
    assert (title, log) == ("kernel log (guest 2)", "(the kernel said nothing during this test)")


def test_qemus_command_line_is_for_those_who_ask() -> None:
    evidence = Evidence(LOG, "", "", "qemu-system-x86_64 -m 256M")
    assert titles(evidence) == ["kernel log"]
    assert titles(evidence, is_verbose=True) == ["kernel log", "QEMU command line"]


def test_the_shells_transcript_is_what_a_person_would_have_seen() -> None:
    transcript = (
        "kmod8f8b4859f8e4ba9f\r\n42\r\nkmodea7b9b1603d49ba0:0:\r\nkmod0c1c719791fcb046kmodea7b9b1603d49ba0"
    )
    sections = dict(Evidence((), "", transcript, "").sections("", (), is_verbose=False))
    assert sections["transcript of the shell"] == "42"


def test_of_a_flood_the_end_is_shown() -> None:
    ((_, log),) = Evidence([f"line {n}" for n in range(300)], "", "", "").sections("", (), is_verbose=False)
    assert len(log.splitlines()) == 60 and log.splitlines()[-1] == "line 299"
