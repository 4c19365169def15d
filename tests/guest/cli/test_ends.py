"""However a run is ended from outside: the right status at once, no QEMU, no directory left."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from shared.cli_process import PATIENCE, await_end, children, read_until, run_directory_of, start


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_and_leaves_nothing(chardev_ko: Path, number: int, status: int) -> None:
    process = start("run", chardev_ko, "--json", "--", "sleep", "100")
    read_until(process.stderr, "loaded chardev")
    (qemu,) = children(process.pid)
    directory = run_directory_of(qemu)
    assert directory.is_dir()

    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == status
    assert "Traceback" not in err
    found = json.loads(out)
    assert (found["outcome"], found["exit_status"]) == ("interrupted", status)
    await_end(qemu)
    assert not directory.exists()


def test_a_qemu_that_is_killed_ends_the_run_at_once(chardev_ko: Path) -> None:
    # writing the evidence takes what the disk takes
    process = start("run", chardev_ko, "--json", "--no-bundle", "--", "sleep", "100")
    read_until(process.stderr, "loaded chardev")
    (qemu,) = children(process.pid)

    killed = time.monotonic()
    os.kill(qemu, signal.SIGKILL)
    out, _ = process.communicate(timeout=PATIENCE)

    assert time.monotonic() - killed < 5
    found = json.loads(out)
    assert (process.returncode, found["outcome"]) == (7, "qemu-died")
    assert "signal 9" in found["error"]["evidence"]
    assert found["modules"][0]["loaded"] is True
    assert any("chardev: loaded" in record["text"] for record in found["kernel_log"])


def test_a_reader_that_goes_away_changes_no_verdict() -> None:
    process = start("run", "--", "seq", "100000")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.wait(PATIENCE) == 0
    assert "Traceback" not in err
