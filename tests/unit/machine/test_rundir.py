"""Run directories: private, held by a lock, swept when their owner was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from kmod_harness.machine import rundir

HOLDER = """
import sys
from kmod_harness.machine.rundir import run_directory
with run_directory() as path:
    (path / "console.log").write_text("log")
    print(path, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(rundir, "_LONGEST_BASE", 4096)
    return tmp_path


def holder(base: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process that holds a run directory, and the directory."""
    environment = {**os.environ, "TMPDIR": str(base)}
    code = f"import kmod_harness.machine.rundir as r; r._LONGEST_BASE = 4096\n{HOLDER}"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def finish(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_run_directory_is_private_and_gone_afterwards(base: Path) -> None:
    with rundir.run_directory() as path:
        assert path.parent == base
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "socket").touch()
    assert list(base.iterdir()) == []


def test_it_is_gone_after_an_exception_too(base: Path) -> None:
    with pytest.raises(KeyError), rundir.run_directory():
        raise KeyError
    assert list(base.iterdir()) == []


def test_a_held_directory_survives_a_sweep(base: Path) -> None:
    process, path = holder(base)
    try:
        assert rundir.sweep(base) == 0
        assert (path / "console.log").exists()
    finally:
        finish(process)


def test_what_a_killed_owner_left_is_swept_by_the_next_run(base: Path) -> None:
    process, path = holder(base)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert path.exists()

    with rundir.run_directory() as mine:
        assert not path.exists()
        assert list(base.iterdir()) == [mine]


def test_an_owner_killed_before_it_locked_leaves_what_can_be_swept(base: Path) -> None:
    (base / "kmod-harness-abandoned").mkdir()

    assert rundir.sweep(base) == 1


def test_a_link_of_that_name_is_not_followed(base: Path) -> None:
    precious = base / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (base / "kmod-harness-link").symlink_to(precious)

    assert rundir.sweep(base) == 0
    assert (precious / "file").exists()


def test_runs_that_start_while_others_sweep_keep_their_directories(base: Path) -> None:
    stop = threading.Event()

    def sweep_on() -> None:
        while not stop.is_set():
            rundir.sweep(base)

    sweepers = [threading.Thread(target=sweep_on) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        for _ in range(200):
            with rundir.run_directory() as path:
                (path / "qmp.sock").touch()
                assert (path / "qmp.sock").exists()
    finally:
        stop.set()
        for sweeper in sweepers:
            sweeper.join()


def test_the_length_that_counts_is_in_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rundir, "_LONGEST_BASE", len(os.fsencode(tmp_path)) + 12)
    wide = tmp_path / ("\u2192" * 8)
    wide.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(wide))

    assert rundir.base_directory() == tmp_path


@pytest.mark.parametrize("name", [b"odd-\xff", b"two\nlines"])
def test_a_path_that_is_no_text_cannot_be_told_to_qemu_and_is_not_used(
    name: bytes, monkeypatch: pytest.MonkeyPatch, base: Path
) -> None:
    odd = base / os.fsdecode(name)
    odd.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(odd))

    assert rundir.base_directory() == base


def test_the_working_directory_is_no_place_for_sockets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TMPDIR")
    monkeypatch.chdir(tmp_path)
    # what tempfile does where neither TMPDIR nor /tmp can be written
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    assert rundir.base_directory() == Path("/tmp")


def test_a_relative_runtime_directory_is_ignored(monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
    monkeypatch.chdir(base)
    (base / "relative").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")

    assert rundir.base_directory() == base


def test_where_nothing_can_be_written_each_place_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, base: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/nobody")
    monkeypatch.setattr(os, "access", lambda path, mode: False)

    with pytest.raises(rundir.NoRunDirectory) as told:
        rundir.base_directory()
    for place in ("/run/nobody", str(base), "/tmp"):
        assert f"'{place}' cannot be written" in told.value.evidence
    assert "XDG_RUNTIME_DIR" in told.value.advice


def test_a_base_too_long_for_a_socket_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rundir, "_LONGEST_BASE", 60)
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))

    assert len(str(rundir.base_directory() / "kmod-harness-12345678/console.sock")) < 108
