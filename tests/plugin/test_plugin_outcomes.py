"""What a kernel does in a test, as pytest's terminal and JUnit XML tell it: one run with real guests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from plugin.outcomes_suite import CONFTEST, SUITE
from plugin.strangers import RunSuite, SuiteRun
from shared.cli_process import unwrapped

#: Seconds: long for any call to a guest on a busy machine, short for a test of a hang.
TIMEOUT = 6.0


@pytest.fixture(scope="module")
def suite(run_suite: RunSuite, chardev_ko: Path, faulty_ko: Path) -> SuiteRun:
    conftest = CONFTEST.format(chardev=str(chardev_ko), faulty=str(faulty_ko))
    return run_suite({"conftest.py": conftest, "test_kernel.py": SUITE}, f"--kh-timeout={TIMEOUT}")


@pytest.mark.parametrize(
    ("test", "status", "outcome"),
    [
        ("test_passes", ("passed",), "passed"),
        ("test_allowed_warning_comes", ("passed",), "passed"),
        ("test_allowed_warning_comes_too_often", ("failure",), "splat"),
        ("test_warning_is_allowed_no_more", ("failure",), "splat"),
        ("test_allowed_oops_kills_the_writer", ("passed",), "passed"),
        ("test_fails", ("failure",), "failed"),
        ("test_oops_in_write", ("failure",), "splat"),
        ("test_after_an_oops", ("passed",), "passed"),
        ("test_warns_and_fails_by_itself", ("failure",), "splat"),
        ("test_expected_warning_comes", ("passed",), "passed"),
        ("test_expected_warning_stays_away", ("failure",), "failed"),
        ("test_another_splat_than_expected", ("failure",), "splat"),
        ("test_expected_warning_of_a_function_comes", ("passed",), "passed"),
        ("test_warning_of_another_function_than_expected", ("failure",), "splat"),
        ("test_expected_oops_kills_the_writer", ("passed",), "passed"),
        ("test_one_of_two_expected_stays_away", ("failure",), "failed"),
        ("test_oops_in_exit_at_clean_up", ("error",), "splat"),
        ("test_warning_in_exit_by_a_fixture", ("error",), "splat"),
        ("test_after_a_warning_in_exit", ("passed",), "passed"),
        ("test_panics", ("failure",), "panic"),
        ("test_expected_panic", ("passed",), "passed"),
        ("test_hangs", ("failure",), "hang"),
        ("test_asks_for_its_guest_and_sleeps_too_long", ("failure",), "hang"),
        ("test_asks_for_its_guest", ("passed",), "passed"),
        ("test_qemu_is_killed", ("failure",), "qemu-died"),
        ("test_the_other_guest_warns", ("failure",), "splat"),
        ("test_known_to_warn", ("skipped",), "splat"),
        ("test_asks_for_what_is_not_there", ("failure",), "failed"),
        ("test_gives_what_no_call_takes", ("failure",), "failed"),
        ("test_raises_its_own_error", ("failure",), "failed"),
        ("test_skips_itself", ("skipped",), "nothing-tested"),
        ("test_loads_what_is_no_module", ("failure",), "setup-error"),
        ("test_leaves_a_module_in_use", ("passed",), "passed"),
        ("test_after_that_it_is_gone", ("passed",), "passed"),
        ("test_expects_without_a_guest", ("failure",), "failed"),
        ("test_taints_and_no_log_tells_of_it", ("failure",), "log-incomplete"),
        ("test_uses_no_guest", ("passed",), ""),
        ("test_a_kunit_case_fails", ("failure",), "failed"),
    ],
)
def test_each_test_has_its_own_outcome(
    suite: SuiteRun, test: str, status: tuple[str, ...], outcome: str
) -> None:
    assert (suite.tests[test].status, suite.tests[test].outcome) == (status, outcome), suite.output


@pytest.mark.parametrize(
    ("test", "message", "text"),
    [
        ("test_oops_in_write", "KernelOops: faulty_oops", "RIP: 0010:"),
        ("test_warns_and_fails_by_itself", "KernelWarning: faulty_warn", "---[ end trace"),
        ("test_another_splat_than_expected", "KernelOops: faulty_bug", "kernel BUG at"),
        ("test_panics", "KernelPanic: faulty_", "Call Trace:"),
        (
            "test_hangs",
            f"GuestHang: write in the guest took longer than {TIMEOUT:g} s",
            "faulty: hang in write",
        ),
        ("test_qemu_is_killed", "QemuDied: QEMU (process ", "signal 9"),
        ("test_the_other_guest_warns", "KernelWarning: faulty_warn", "faulty_init"),
        ("test_expected_warning_stays_away", "CheckFailed: the expected WARNING did not come", "->"),
        ("test_loads_what_is_no_module", "ModuleFileError: ", "test_kernel.py"),
        ("test_a_kunit_case_fails", "CheckFailed: KUnit: divides failed", "divides: EXPECTATION FAILED"),
    ],
)
def test_a_failure_begins_with_its_kind_and_the_function_at_fault(
    suite: SuiteRun, test: str, message: str, text: str
) -> None:
    reported = suite.tests[test]
    assert reported.messages[0].startswith(message)
    assert reported.texts[0].startswith(message)
    assert text in reported.texts[0]
    assert suite.section(test).partition("\n")[2].startswith(message), "the terminal's section"
    assert f"FAILED test_kernel.py::{test} - {message}" in suite.output


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("test_oops_in_write", "OOPS: NULL pointer dereference in faulty_oops"),
        ("test_warns_and_fails_by_itself", "WARNING: WARNING in faulty_warn"),
        ("test_another_splat_than_expected", "BUG: kernel BUG in faulty_bug"),
        ("test_panics", "PANIC: kernel panic: faulty: a panic was asked for"),
    ],
)
def test_a_summary_has_the_place_and_the_text_below_it_the_kind_to_expect(
    suite: SuiteRun, test: str, said: str
) -> None:
    first, second, *_ = suite.tests[test].texts[0].splitlines()
    assert re.fullmatch(r"Kernel\w+: faulty_\w+ \(\S+\.c:\d+\): [\w :]+", first), first
    assert second == said
    assert suite.tests[test].messages == (first,), "a summary has no more than that line"


@pytest.mark.parametrize(
    ("test", "title"),
    [
        ("test_oops_in_exit_at_clean_up", "KernelOops: faulty_oops"),
        ("test_warning_in_exit_by_a_fixture", "KernelWarning: faulty_warn"),
    ],
)
def test_a_splat_in_a_modules_exit_is_an_error_at_that_tests_teardown(
    suite: SuiteRun, test: str, title: str
) -> None:
    reported = suite.tests[test]
    assert reported.messages[0].startswith(f'failed on teardown with "{title}')
    assert reported.texts[0].startswith(title)
    assert "faulty_exit" in reported.texts[0]


def test_a_splat_is_chained_to_the_tests_own_failure(suite: SuiteRun) -> None:
    (text,) = suite.tests["test_warns_and_fails_by_itself"].texts
    assert text.index("WARNING in faulty_warn") < text.index("the test itself ended with")
    assert ">       assert 1 == 2" in text
    (text,) = suite.tests["test_oops_in_write"].texts
    assert text.rstrip().splitlines()[-1].startswith("E   ")
    assert "was killed by SIGKILL in write" in text.rstrip().splitlines()[-1]
    assert "test_kernel.py:" in text, "the line of the test"


def test_no_frame_of_the_harness_is_shown(suite: SuiteRun) -> None:
    texts = "".join(text for test in suite.tests.values() for text in test.texts)
    assert not re.search(r"kmod_harness/\w+/\w+\.py:\d+", texts)


@pytest.mark.parametrize("test", ["test_fails", "test_oops_in_write", "test_hangs", "test_qemu_is_killed"])
def test_the_terminal_shows_the_evidence(suite: SuiteRun, test: str) -> None:
    section = suite.section(test)
    assert "- kernel log -" in section
    # a thousand characters, which a bundle has
    assert "qemu-system-x86_64" not in section


@pytest.mark.parametrize(
    ("test", "once"),
    [
        ("test_oops_in_write", r"RAX: \w+ RBX"),
        ("test_oops_in_write", r"^ *RIP: "),
        ("test_oops_in_write", "#PF: supervisor write access"),
        ("test_warns_and_fails_by_itself", r"RAX: \w+ RBX"),
        ("test_panics", "Kernel panic - not syncing"),
        ("test_hangs", "faulty: hang in write"),
    ],
)
def test_a_report_is_told_once(suite: SuiteRun, test: str, once: str) -> None:
    section = suite.section(test)
    assert len(re.findall(once, section, re.MULTILINE)) == 1, section
    assert "shown above ..." in section


def test_what_is_shown_of_the_kernel_log_has_no_priorities_and_nothing_of_ours(suite: SuiteRun) -> None:
    sections = [suite.section(name) for name in suite.tests]
    assert any("[ " in section for section in sections)
    assert not [section for section in sections if "kmod-harness-nonce" in section]
    assert not [section for section in sections if re.search(r"^\s*<\d+>\[", section, re.MULTILINE)]


def test_the_line_that_was_running_is_shown_though_the_test_went_on(suite: SuiteRun) -> None:
    section = suite.section("test_the_other_guest_warns")
    told = section.partition("the test was at\n")[2].splitlines()
    assert re.fullmatch(r"test_kernel\.py:\d+: in test_the_other_guest_warns", told[0])
    assert told[1] == '    other.load(faulty_ko, fault="warn")'


def test_a_report_that_came_before_the_tests_own_failure_is_told_with_its_line(suite: SuiteRun) -> None:
    section = suite.section("test_warns_and_fails_by_itself")
    told = section.partition("when the kernel reported it, the test was at\n")[2]
    assert 'write_faulty("warn")' in told.splitlines()[1]
    assert 'guest.open("/dev/faulty", os.O_WRONLY).write(b"x")' in told.splitlines()[3]


def test_an_answer_of_the_guest_is_shown_at_the_line_that_asked(suite: SuiteRun) -> None:
    section = suite.section("test_asks_for_what_is_not_there")
    assert '>       guest.read_text("/nowhere")' in section
    assert "E       FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'" in section
    assert "Result(" not in section and "hidden" not in section
    assert re.search(r"^guest = <Guest of <Machine: .*, 1 CPU, .*>>$", section, re.MULTILINE)


def test_of_what_may_be_a_fault_of_ours_the_reader_is_told_how_to_see_more(suite: SuiteRun) -> None:
    section = suite.section("test_gives_what_no_call_takes")
    assert '>       guest.read_text("nul\\0")' in section
    assert "--full-trace" in section


def test_a_cause_is_shown_at_the_line_that_asked_too(suite: SuiteRun) -> None:
    section = suite.section("test_raises_its_own_error")
    assert '>           guest.read_text("/nowhere")' in section
    assert 'raise LookupError("no such thing") from error' in section


@pytest.mark.parametrize(("options", "shown"), [((), False), (("-v",), True)])
def test_qemus_command_line_is_shown_to_who_asks_for_more(
    run_suite: RunSuite, options: tuple[str, ...], shown: bool
) -> None:
    run = run_suite({"test_one.py": "def test_fails(guest):\n    assert 1 == 2\n"}, *options)
    section = run.section("test_fails")
    assert ("- QEMU command line -" in section and "qemu-system-x86_64" in section) is shown
    assert "(the kernel said nothing during this test)" in section


@pytest.mark.parametrize("workers", [(), ("-n1",)])
def test_a_ci_systems_summary_has_a_line_for_each_failure(
    run_suite: RunSuite, faulty_ko: Path, workers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given: where pytest does not cut its summary's lines
    monkeypatch.setenv("CI", "true")
    suite = f"def test_warns(guest):\n    guest.load({str(faulty_ko)!r}, fault='warn')\n"
    run = run_suite({"test_one.py": suite}, *workers)
    summary = run.output.partition("short test summary info")[2].splitlines()[1:-1]
    assert len(summary) == 1 and "FAILED test_one.py::test_warns - KernelWarning: faulty_warn" in summary[0]


def test_junit_has_the_node_id_of_each_failure_and_of_nothing_else(suite: SuiteRun) -> None:
    nodes = {name: one.properties.get("kh_node") for name, one in suite.tests.items()}
    failed = {name for name, one in suite.tests.items() if {"failure", "error"} & set(one.status)}
    assert nodes == {name: f"test_kernel.py::{name}" if name in failed else None for name in suite.tests}


def test_the_shells_transcript_is_evidence(suite: SuiteRun) -> None:
    assert "- transcript of the shell -" in suite.section("test_fails")
    assert re.search(r"^42$", suite.section("test_fails"), re.MULTILINE)


def test_evidence_tells_two_guests_apart(suite: SuiteRun) -> None:
    section = suite.section("test_the_other_guest_warns")
    assert "- kernel log (guest 1) -" in section
    assert "- kernel log (guest 2) -" in section


def test_teardown_does_not_wait_for_a_guest_that_hangs(suite: SuiteRun) -> None:
    boot_and_probe = 5.0
    assert suite.tests["test_hangs"].seconds < TIMEOUT + boot_and_probe < 2 * TIMEOUT


def test_a_guest_that_could_not_be_cleaned_up_is_replaced_with_a_warning(suite: SuiteRun) -> None:
    said = (
        r"test_leaves_a_module_in_use\n.*PytestWarning: clean-up failed, the guest is replaced: .*: 'chardev'"
    )
    assert re.search(said, suite.output), suite.output


def test_the_run_fails_and_says_what_ran(suite: SuiteRun) -> None:
    assert suite.status == pytest.ExitCode.TESTS_FAILED
    assert re.search(r"^kmod-harness: kernel \S+ .*(tcg|kvm): ", suite.output, re.MULTILINE)
    assert re.search(r"^kmod-harness: \d+ restores", suite.output, re.MULTILINE)


@pytest.mark.parametrize(
    "line",
    [
        "allowed, and came once: WARNING:faulty_warn; times=1; reason=known; expires=2999-01-01",
        "allowed, and came once: OOPS:faulty_oops",
        "allowed, and did not come: KASAN",
        "allowed no more, since its last day has passed: WARNING; expires=2020-01-01",
    ],
)
def test_the_summary_tells_what_came_of_each_allowance(suite: SuiteRun, line: str) -> None:
    assert line in unwrapped(suite.output)
