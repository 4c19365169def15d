"""One cell's outcome, from its JUnit XML and pytest's exit status."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from kmod_harness.klog.outcome import PRECEDENCE, Outcome
from kmod_harness.nightly.junit import judge_cell, read_cases
from kmod_harness.nightly.matrix import Cell, Matrix

PASSED, FAILURE, ERROR, SKIPPED = "", '<failure message="m"/>', '<error message="m"/>', "<skipped/>"


def case(name: str, inner: str = PASSED, told: str = "") -> str:
    properties = (
        f'<properties><property name="kh_outcome" value={quoteattr(told)}/></properties>' if told else ""
    )
    return f'<testcase classname="tests.guest" name={quoteattr(name)}>{properties}{inner}</testcase>'


def report(tmp_path: Path, *cases: str) -> Path:
    path = tmp_path / "junit.xml"
    path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return path


def test_the_matrix_is_two_kernels_by_cpus_by_kaslr() -> None:
    names = [cell.name for cell in Matrix().cells()]
    assert names[:2] == ["minimal-1cpu-kaslr", "minimal-1cpu-nokaslr"]
    assert len(set(names)) == 8
    assert "debian-2cpu-nokaslr" in names


def test_every_cell_boots_cold_and_only_nokaslr_says_so() -> None:
    assert "--kh-cold" in Cell("minimal", 1, True).pytest_options()
    assert "--kh-append=nokaslr" in Cell("minimal", 1, False).pytest_options()
    assert "nokaslr" not in " ".join(Cell("minimal", 1, True).pytest_options())


def test_a_kernel_by_path_gives_a_name_that_is_one_directory() -> None:
    assert Cell("/boot/vmlinuz 6.1", 1, True).name == "boot_vmlinuz_6.1-1cpu-kaslr"
    assert "/" not in Cell("../..", 1, True).name


def test_a_cell_whose_tests_passed_passed(tmp_path: Path) -> None:
    verdict = judge_cell(report(tmp_path, case("a"), case("b", SKIPPED)), 0)
    assert (verdict.outcome, verdict.passed, verdict.skipped) == (Outcome.PASSED, 1, 1)


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.PASSED])
def test_a_failed_test_means_what_the_plugin_tells(tmp_path: Path, outcome: Outcome) -> None:
    verdict = judge_cell(report(tmp_path, case("a"), case("b", FAILURE, outcome.value)), 1)
    # pytest's status 1 says at least "failed"
    assert verdict.outcome is min(outcome, Outcome.FAILED, key=PRECEDENCE.index)
    assert verdict.not_passed[0].outcome is outcome


def test_the_worst_test_decides(tmp_path: Path) -> None:
    cases = [case("a", FAILURE, "failed"), case("b", ERROR, "qemu-died"), case("c", FAILURE, "panic")]
    assert judge_cell(report(tmp_path, *cases), 1).outcome is Outcome.QEMU_DIED


def test_a_failure_without_the_plugins_word_is_failed_an_error_is_set_up(tmp_path: Path) -> None:
    assert judge_cell(report(tmp_path, case("a", FAILURE)), 1).outcome is Outcome.FAILED
    assert judge_cell(report(tmp_path, case("a", ERROR)), 1).outcome is Outcome.SETUP_ERROR


def test_a_value_nobody_knows_counts_as_none(tmp_path: Path) -> None:
    assert judge_cell(report(tmp_path, case("a", FAILURE, "exploded")), 1).outcome is Outcome.FAILED


def test_an_expected_splat_of_a_passed_test_is_no_outcome_of_the_cell(tmp_path: Path) -> None:
    assert judge_cell(report(tmp_path, case("a", PASSED, "splat")), 0).outcome is Outcome.PASSED


def test_a_test_that_fails_in_call_and_teardown_is_one_test(tmp_path: Path) -> None:
    verdict = judge_cell(report(tmp_path, case("a", FAILURE, "failed"), case("a", ERROR, "splat")), 1)
    assert [test.outcome for test in verdict.cases] == [Outcome.SPLAT]
    assert verdict.outcome is Outcome.SPLAT


@pytest.mark.parametrize(("cases", "status"), [((), 5), ((case("a", SKIPPED),), 0)])
def test_no_test_run_is_nothing_tested(tmp_path: Path, cases: tuple[str, ...], status: int) -> None:
    assert judge_cell(report(tmp_path, *cases), status).outcome is Outcome.NOTHING_TESTED


@pytest.mark.parametrize("status", [2, 3, 4, -9, 77])
def test_a_pytest_that_ended_otherwise_is_a_set_up_error(tmp_path: Path, status: int) -> None:
    verdict = judge_cell(report(tmp_path, case("a")), status)
    assert verdict.outcome is Outcome.SETUP_ERROR
    assert str(status) in verdict.trouble


def test_what_the_kernel_did_before_pytest_ended_otherwise_still_counts(tmp_path: Path) -> None:
    assert judge_cell(report(tmp_path, case("a", FAILURE, "panic")), 2).outcome is Outcome.PANIC


def test_a_missing_or_cut_report_is_a_set_up_error(tmp_path: Path) -> None:
    assert judge_cell(tmp_path / "none.xml", 0).outcome is Outcome.SETUP_ERROR
    (tmp_path / "cut.xml").write_text("<testsuites><testcase")
    assert judge_cell(tmp_path / "cut.xml", 0).outcome is Outcome.SETUP_ERROR


def test_names_are_those_of_the_report() -> None:
    assert read_cases(b"<t><testcase classname='a.b' name='c[1]'/></t>")[0].name == "a.b::c[1]"


def test_a_failure_has_its_reason_and_a_node_id_where_the_plugin_tells_it() -> None:
    told = """<t><testcase classname="tests.test_a.TestB" name="c[1]">
      <properties><property name="kh_node" value="tests/test_a.py::TestB::c[1]"/></properties>
      <failure message="KernelOops: f (a.c:1): it&#10;and more">text</failure></testcase>
      <testcase classname="d" name="e"><error message="collection failure"/></testcase>
      <testcase classname="d" name="f"/></t>"""
    one, other, passed = read_cases(told.encode())
    assert (one.name, one.is_node, one.reason) == (
        "tests/test_a.py::TestB::c[1]", True, "KernelOops: f (a.c:1): it"
    )  # fmt: skip
    assert (other.name, other.is_node, other.reason) == ("d::e", False, "collection failure")
    assert passed.reason == ""
