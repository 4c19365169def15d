"""The command line with the streams it may be started with: closed, full, without a reader, of any locale."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "kmod_harness.cli.main"]


def in_shell(
    redirection: str, *words: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Returns a finished command line that a shell gave other streams, as by `2>/dev/full`."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *COMMAND, *words],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        env={**os.environ, "PYTHONUNBUFFERED": "", **(env or {})},
        check=False,
    )


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("cache", "list"), ("run", "--help")])
@pytest.mark.parametrize("buffering", ["", "1"])
def test_what_was_asked_for_and_cannot_be_written_is_told_with_2(
    words: tuple[str, ...], buffering: str
) -> None:
    for redirection in (">/dev/full", ">&-"):
        done = in_shell(redirection, *words, env={"PYTHONUNBUFFERED": buffering})
        assert done.returncode == 2, redirection
        assert done.stderr.count("\n") == 1
        assert "stdout cannot be written" in done.stderr


@pytest.mark.parametrize(("bisect", "status"), [([], 2), (["--bisect"], 125)])
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-", ">&- 2>&-", ">/dev/full 2>&1", "<&- >&- 2>&-"])
def test_a_run_that_cannot_tell_its_verdict_has_none(
    redirection: str, bisect: list[str], status: int
) -> None:
    done = in_shell(redirection, "run", "--json", *bisect, "/nonexistent.ko")
    assert done.returncode == status
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "<&-", "2>/dev/full <&-"])
def test_what_is_said_in_passing_may_be_lost(redirection: str) -> None:
    done = in_shell(redirection, "run", "--json", "/nonexistent.ko")
    assert done.returncode == 2
    assert json.loads(done.stdout)["outcome"] == "setup-error"


def test_no_file_of_ours_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from kmod_harness.cli.streams import prepare_streams\n"
        "prepare_streams()\n"
        "Path(sys.argv[1]).write_text(str(os.open('/dev/null', os.O_RDONLY)))\n"
    )
    told = tmp_path / "number"
    words = ["sh", sys.executable, "-c", code, str(told)]
    subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', *words], check=True)
    assert int(told.read_text()) > 2


def test_a_name_of_odd_bytes_is_printed_as_it_is(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd-\xff\xc3\xa9")
    odd.mkdir()
    done = in_shell("", "cache", "list", env={"XDG_CACHE_HOME": str(odd), "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done.stderr
    assert f"{odd}/kmod-harness" in done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_a_locale_has_no_letter_for_is_escaped(tmp_path: Path, encoding: str) -> None:
    arrow = tmp_path / "\u2192"
    arrow.mkdir()
    environment = {"XDG_CACHE_HOME": str(arrow), "PYTHONIOENCODING": f"{encoding}:strict"}
    done = in_shell("", "cache", "list", env=environment)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/\\u2192/kmod-harness" in done.stdout


@pytest.mark.parametrize("number", [1, 2])
def test_a_pipe_that_does_not_block_is_waited_for(number: int) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    full = 0
    while True:
        try:
            full += os.write(writer, b"x" * 4096)
        except BlockingIOError:
            break
    streams = {1: {"stdout": writer}, 2: {"stderr": writer}}[number]
    with subprocess.Popen([*COMMAND, "run", "--json", "/nonexistent.ko"], **streams) as process:
        os.close(writer)
        with open(reader, "rb") as file:
            said = file.read()[full:]
    assert process.returncode == 2
    assert b"/nonexistent.ko" in said
