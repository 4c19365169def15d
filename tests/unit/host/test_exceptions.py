"""Any exception as a user is told it: what happened, the evidence, what to do; never with status 1."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path

import pytest

from kmod_harness.cli.main import main
from kmod_harness.cli.run import report as run_report
from kmod_harness.cli.run import request as run_request
from kmod_harness.errors import ExitStatus, InternalError, KmodHarnessError, MissingTool, Misuse
from kmod_harness.guest.agent.calls import os_error
from kmod_harness.host.exceptions import as_harness_error


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_an_error_of_ours_is_told_as_it_is() -> None:
    error = MissingTool("there is no gcc")
    assert as_harness_error(error) is error


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "XDG_CACHE_HOME"),
        (errno.EACCES, "XDG_CACHE_HOME"),
        (errno.EMFILE, "ulimit -n"),
    ],
)
def test_what_the_machine_refuses_has_its_path_and_what_to_do(number: int, advice: str) -> None:
    error = as_harness_error(OSError(number, os.strerror(number), "/some/file"))
    assert isinstance(error, Misuse)
    assert error.message == f"{os.strerror(number)}: '/some/file'"
    assert advice in error.advice


def test_a_working_directory_that_is_gone_is_named_as_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    try:
        with pytest.raises(FileNotFoundError) as raised:
            Path("relative").absolute()
        error = as_harness_error(raised.value)
    finally:
        os.chdir(tmp_path)
    assert "working directory does not exist" in error.message


def test_a_package_that_cannot_be_imported_is_no_fault_of_ours() -> None:
    error = as_harness_error(ImportError("libelf.so.1: cannot open shared object file", name="_drgn"))
    assert isinstance(error, Misuse)
    assert "libelf.so.1" in error.message


@pytest.mark.parametrize(
    "error", [KeyError("key"), ZeroDivisionError("x"), ImportError("x", name="kmod_harness.x")]
)
def test_a_fault_of_ours_is_told_with_a_file_that_holds_the_traceback(error: Exception) -> None:
    try:
        raise error
    except Exception as raised:
        found = as_harness_error(raised)
    assert isinstance(found, InternalError)
    assert found.exit_status == ExitStatus.USAGE
    assert "internal error" in found.message
    assert "report it" in found.advice
    file = Path(found.evidence.removeprefix("the traceback: "))
    assert f"raise error\n{type(error).__name__}: {error}" in file.read_text()


def test_where_no_file_can_be_written_the_traceback_itself_is_the_evidence(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(scratch / "nowhere"))
    assert "KeyError: 'x'" in as_harness_error(KeyError("x")).evidence


@pytest.mark.parametrize(("bisect", "status"), [([], 2), (["--bisect"], 125)])
def test_a_fault_of_ours_in_a_run_is_told_in_one_json_object(
    bisect: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_request, "read_request", lambda args: {}["no such key"])

    assert main(["run", "--json", *bisect, "--", "true"]) == status

    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["outcome"], found["exit_status"]) == ("internal-error", status)
    assert found["error"]["type"] == "InternalError"
    assert "Traceback" not in err
    assert "report it" in " ".join(err.split())


def test_a_fault_of_ours_in_the_report_leaves_the_verdict_and_one_json_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_report, "report", lambda *words, **options: {}["no such key"])

    assert main(["run", "--json", "/nonexistent.ko"]) == 2

    out, err = capsys.readouterr()
    assert json.loads(out)["outcome"] == "setup-error"
    assert "internal error: KeyError" in err


def test_a_fault_of_ours_in_telling_of_one_does_not_end_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def faulty(error: Exception) -> KmodHarnessError:
        raise LookupError(error)

    monkeypatch.setattr("kmod_harness.host.exceptions.as_harness_error", faulty)
    assert main(["symbolize", "/nonexistent"]) == 2
    assert "internal error: LookupError" in capsys.readouterr().err


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOMEM, errno.EACCES])
def test_what_the_guest_answered_has_no_advice_about_this_machine(number: int) -> None:
    error = as_harness_error(os_error(number, "/kmod-harness/loaded"))
    assert (error.advice, "the guest's answer" in error.message) == ("", True)
