"""`reproduce.sh` of a bundle: the same verdict again, from another directory, in an empty environment."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from shared.cli_process import PATIENCE, kmod_harness


def again(bundle: Path) -> tuple[int, str]:
    """Runs the script in a new shell; returns its exit status and the reason it gives."""
    kept = {"HOME": os.environ["HOME"], "PATH": os.environ["PATH"]}
    kept |= {name: value for name, value in os.environ.items() if name.startswith("XDG_")}
    done = subprocess.run(
        [bundle / "reproduce.sh"],
        cwd="/",
        env=kept,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    told = json.loads((bundle / "again" / "verdict.json").read_text())
    return done.returncode, told["reason"]


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (("--param", "fault=oops"), 3, "NULL pointer dereference in faulty_oops"),
        (("--param", "fault=block", "--timeout", "1"), 5, "took longer than 1 s"),
        (("--param", "fault=panic"), 4, "a panic was asked for"),
        (
            ("--param", "fault=warn", "--param", "when=write", "--", "./check.sh", "7"),
            1,
            "the command failed",
        ),
        (
            (
                "--param",
                "fault=warn",
                "--param",
                "when=write",
                "--",
                "sh",
                "-c",
                "exec 3> /dev/faulty; sleep 1000 &",
            ),
            1,
            "unloading faulty failed",
        ),
    ],
    ids=["oops", "hang", "panic", "command", "unload"],
)
def test_a_failure_is_reproduced_three_times_of_three(
    faulty_ko: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: Sequence[str],
    status: int,
    reason: str,
) -> None:
    # given: a failure, with files of the working directory, which are gone later
    given, bundle = tmp_path / "given", tmp_path / "bundle"
    given.mkdir()
    monkeypatch.chdir(given)
    (given / "mine.ko").write_bytes(faulty_ko.read_bytes())
    check = given / "check.sh"
    check.write_text("#!/bin/sh\nexit $1\n")
    check.chmod(0o755)
    assert kmod_harness("run", "mine.ko", "--bundle", bundle, *words).returncode == status
    first = json.loads((bundle / "verdict.json").read_text())["reason"]
    assert reason in first
    (given / "mine.ko").unlink()
    check.unlink()

    # when: the script runs; then: the same verdict each time, and the first evidence is still there
    assert [again(bundle) for _ in range(3)] == [(status, first)] * 3
    assert (bundle / "kernel.log").is_file()
