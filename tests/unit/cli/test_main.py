"""The command line before anything is booted: usage, JSON on misuse, exit statuses, what is imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kmod_harness.cli.main import main
from kmod_harness.cli.run.command import exit_status_for

_HEAVY = ("pexpect", "paramiko", "qemu", "elftools", "rich", "filelock", "kmod_harness.klog")


def _help_in_a_new_process(*words: str) -> list[str]:
    """Returns the modules that were imported once --help had been printed."""
    code = (
        "import sys\n"
        "from kmod_harness.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: kmod-harness")
    return done.stderr.split()


@pytest.mark.parametrize("words", [(), ("run",), ("kernel", "build"), ("debug",)])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    imported = _help_in_a_new_process(*words)
    assert not [name for name in imported if name.startswith(_HEAVY)]


def test_help_takes_less_than_a_fifth_of_a_second() -> None:
    command = [sys.executable, "-m", "kmod_harness.cli.main", "--help"]
    times = []
    for _ in range(5):
        # processor time: on a busy machine the clock tells of the others
        started = os.times()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        ended = os.times()
        spent = ended.children_user + ended.children_system
        times.append(spent - started.children_user - started.children_system)
    assert min(times) < 0.2, times


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "a command is missing"),
        (["nosuch"], "invalid choice: 'nosuch'"),
        (["run", "--nosuch"], "unknown arguments: --nosuch"),
        (["run", "--timeout", "abc"], "expected a number of seconds"),
        (["run", "--timeout", "0"], "expected a number of seconds"),
        (["kernel", "list", "--", "x"], "nothing behind `--`"),
        (["cache", "prune", "--max-size", "much"], "expected a size"),
    ],
)
def test_a_wrong_command_line_is_told_and_ends_with_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert "usage: kmod-harness" in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "nothing to do"),
        (["run", "/nonexistent.ko"], "/nonexistent.ko: no such file"),
        (["run", "--memory", "3Q", "--", "true"], "a memory size"),
        (["run", "--cpus", "0", "--", "true"], "cpus must be between"),
        (["run", "--expect-splat", "noise", "--", "true"], "there is no kind 'noise'"),
        (["run", "--push", "/nonexistent", "--", "true"], "there is no /nonexistent"),
        (["run", "--kernel", "/nonexistent", "--", "true"], "there is no kernel /nonexistent"),
        (["run", "--kernel", "/etc/passwd", "--", "true"], "not a kernel image"),
        (["kernel", "dir", "/nonexistent"], "there is no kernel /nonexistent"),
        (["modules", "/nonexistent"], "there is no directory /nonexistent"),
        (["modules", "/", "x"], "'x' is no variable for make"),
    ],
)
def test_what_cannot_be_done_is_named_and_ends_with_2(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # no kernel is built
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count(said) == 1
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"hello\n", "is not an ELF file"),
        (b"\x7fELF\x02\x01\x01", "damaged or truncated"),
        (Path(sys.executable).resolve().read_bytes()[:4096], "expected a"),
    ],
)
def test_a_file_that_is_no_module_is_a_set_up_error(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.ko"
    path.write_bytes(content)
    assert main(["run", str(path)]) == 2
    told = capsys.readouterr()
    # once, wrapped or not: in the line that can be quoted, or above it where that has no room
    assert " ".join(told.err.split()).count(said) == 1
    assert "kmod-harness: setup-error: " in told.err.splitlines()[-1]
    assert [line for line in told.err.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("arguments", [["--nosuch"], ["/nonexistent.ko"], [], ["--cpus", "99", "--", "true"]])
@pytest.mark.parametrize(("bisect", "status"), [([], 2), (["--bisect"], 125)])
def test_json_is_one_object_also_for_misuse(
    arguments: list[str], bisect: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--json", *bisect, *arguments]) == status
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == 1
    assert found["outcome"] == "setup-error"
    assert found["exit_status"] == status
    assert found["error"]["message"]
    assert found["timings"]["boot"] is None
    assert found["modules"] == []


def test_bisect_skips_what_says_nothing_about_the_commit() -> None:
    plain = [exit_status_for(status, bisect=False) for status in range(9)]
    bisecting = [exit_status_for(status, bisect=True) for status in range(9)]
    assert plain == list(range(9))
    assert bisecting == [0, 1, 125, 3, 4, 5, 125, 125, 125]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("kmod-harness 0.")
