"""Programs in the guest: streams and status apart, every way to fail has its own error."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kmod_harness.errors import CommandFailed, GuestHang, ProcessKilled
from kmod_harness.guest.guest import Guest


def sh(line: str) -> list[str]:
    return ["sh", "-c", line]


def test_output_error_and_status_are_apart(guest: Guest) -> None:
    done = guest.run(sh("echo out; echo err >&2; exit 3"))

    assert (done.stdout, done.stderr, done.status) == (b"out\n", b"err\n", 3)
    with pytest.raises(CommandFailed, match="exit status 3"):
        done.check()


def test_arguments_are_given_as_they_are(guest: Guest) -> None:
    words = ["", "a b", "'quotes\"", "$HOME `id` *", "new\nline", "\N{SNOWMAN}"]

    done = guest.run(["printf", "%s|", *words])

    assert done.stdout.decode() == "".join(f"{word}|" for word in words)


@pytest.mark.parametrize("status", [0, 1, 127, 255])
def test_every_status_is_the_programs(guest: Guest, status: int) -> None:
    assert guest.run(sh(f"exit {status}")).status == status


def test_a_signal_is_a_negative_status(guest: Guest) -> None:
    done = guest.run(sh("kill -SEGV $$"))

    assert done.status == -signal.SIGSEGV
    assert done.how == "killed by SIGSEGV"


def test_large_output_on_both_streams_arrives_whole(guest: Guest) -> None:
    done = guest.run(sh("seq 1 60000; seq 60000 -1 1 >&2"))

    assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 60001))
    assert done.stderr == b"".join(b"%d\n" % number for number in range(60000, 0, -1))


def test_input_directory_and_environment(guest: Guest) -> None:
    done = guest.run(
        sh("cat; pwd; echo $GREETING"), input=b"in\0put\n", directory="/tmp", environment={"GREETING": "hi"}
    )

    assert done.stdout == b"in\0put\n/tmp\nhi\n"
    assert guest.run(["cat"]).stdout == b""


def test_a_program_that_cannot_be_run_raises_what_the_host_would(guest: Guest) -> None:
    guest.write_file("/tmp/data", b"no program", mode=0o644)
    guest.write_file("/tmp/damaged", b"\x7fELF", mode=0o755)
    guest.write_file("/tmp/script", b"#!/nonexistent\n", mode=0o755)

    with pytest.raises(FileNotFoundError, match="no-such-program"):
        guest.run(["no-such-program"])
    with pytest.raises(PermissionError):
        guest.run(["/tmp/data"])
    with pytest.raises(OSError, match="Exec format"):
        guest.run(["/tmp/damaged"])
    with pytest.raises(FileNotFoundError):
        guest.run(["/tmp/script"])
    with pytest.raises(FileNotFoundError, match="ls in /nowhere"):
        guest.run(["ls"], directory="/nowhere")
    with pytest.raises(TypeError, match="sequence of strings"):
        guest.run("ls /")


@pytest.mark.parametrize("timeout", [0.001, 0.3])
def test_an_overdue_program_is_a_hang_and_is_gone(guest: Guest, timeout: float) -> None:
    started = time.monotonic()
    with pytest.raises(GuestHang, match="sleep 9876"):
        guest.run(["sleep", "9876"], timeout=timeout)
    assert time.monotonic() - started < timeout + 2

    for _ in range(100):
        if "sleep 9876" not in guest.run(["ps"]).text:
            return
    pytest.fail("the program still runs")


def test_an_overdue_program_is_quoted(guest: Guest) -> None:
    with pytest.raises(GuestHang) as hang:
        guest.run(sh("echo so far; sleep 1000"), timeout=1)
    assert "so far" in hang.value.evidence


def test_children_left_in_the_background_are_not_awaited(guest: Guest) -> None:
    started = time.monotonic()

    done = guest.run(sh("sleep 30 & echo started"))

    assert done.stdout == b"started\n"
    assert time.monotonic() - started < 5
    guest.run(["sh", "-c", "kill $(pidof sleep)"])


def test_a_hundred_programs_one_after_the_other(guest: Guest) -> None:
    for number in range(100):
        assert guest.run(["echo", str(number)]).stdout == b"%d\n" % number


def test_a_directory_is_pushed_with_its_permissions(guest: Guest, tmp_path: Path) -> None:
    (tmp_path / "tool/bin").mkdir(parents=True)
    (tmp_path / "tool/bin/hello").write_text("#!/bin/sh\necho hello from $0\n")
    (tmp_path / "tool/bin/hello").chmod(0o755)
    (tmp_path / "tool/data").write_bytes(bytes(700_000))

    guest.push(tmp_path / "tool", "/tmp/tool")

    assert guest.run(["/tmp/tool/bin/hello"]).stdout == b"hello from /tmp/tool/bin/hello\n"
    assert guest.syscaller.stat("/tmp/tool/data").st_size == 700_000


def test_links_stay_links_and_a_fifo_is_left_out(guest: Guest, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "data").write_text("x")
    (tree / "here").symlink_to("data")
    (tree / "nowhere").symlink_to("/nonexistent")
    (tree / "round").symlink_to(".")
    os.mkfifo(tree / "fifo")

    left_out = [guest.push(str(tree), "/tmp/tree") for _ in range(2)]

    assert left_out == [(tree / "fifo",)] * 2
    listed = guest.run(
        ["sh", "-c", "cd /tmp/tree; for link in here nowhere round; do readlink $link; done"]
    ).text
    assert listed.split() == ["data", "/nonexistent", "."]
    assert guest.read_text("/tmp/tree/here") == "x"


def test_when_memory_runs_out_the_agent_is_spared_and_nothing_else(guest: Guest) -> None:
    worker = guest.process()
    agent = worker.read_text("/proc/self/stat").rpartition(")")[2].split()[1]
    assert worker.read_text(f"/proc/{agent}/oom_score_adj") == "-1000\n"
    assert worker.read_text("/proc/self/oom_score_adj") == "0\n"
    assert guest.run(["cat", "/proc/self/oom_score_adj"]).text == "0\n"


@pytest.mark.expect_splat("OUT_OF_MEMORY")
def test_the_agent_answers_after_memory_has_run_out(guest: Guest) -> None:
    # when: a process takes more memory than there is, at once
    # MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE, MAP_POPULATE
    readable_and_writable, populated = 3, 0x2 | 0x20 | 0x4000 | 0x8000
    with pytest.raises(ProcessKilled) as killed:
        guest.process().call("mmap", 0, 1 << 30, readable_and_writable, populated, -1, 0)

    assert killed.value.signal == signal.SIGKILL
    assert guest.run(["echo", "still here"]).text == "still here\n"


def test_threads_may_use_a_guest_at_once(guest: Guest) -> None:
    def says(number: int) -> int:
        path = f"/tmp/of-{number}"
        guest.write_file(path, str(number).encode())
        said = guest.run(["sh", "-c", f"sleep 0.1; cat {path}"]).text
        return int(said) + int(guest.read_file(path))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(says, range(12))) == [2 * number for number in range(12)]
