"""Sessions with a guest on standby end without a trace: interrupted at any moment, settled, side by side."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from kmod_harness.build.cache import default_cache
from plugin.strangers import BODY_LINE, SPEAKS_FOR_THE_KERNEL, RunSuite

SUITE = """
import time

def test_one(machine, guest):
    print("first guest", flush=True)
    if machine.standard._next is not None:
        machine.standard._next.result()
    print("next guest", flush=True)
    time.sleep(60)
"""

LATE = f"""{SPEAKS_FOR_THE_KERNEL}
def test_that_plants_it(guest):
    lines = ("WARNING: CPU: 0 PID: 1 at a.c:1 late+0x1/0x2", "{BODY_LINE}")
    says = "; ".join(f"echo '<4>{{line}}' > /dev/kmsg" for line in lines)
    guest.run(["sh", "-c", "(sleep 1; " + says + ") &"]).check()

def test_after_it(guest):
    pass
"""


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A temporary directory whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="kh-", dir="/tmp") as directory:
        yield Path(directory)


def processes_with(mark: str) -> list[str]:
    """The command lines of running processes whose environment holds it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:100])
        except OSError:
            continue
    return found


@dataclass(frozen=True)
class Session:
    """pytest at a terminal, in a directory of its own; what it starts carries `mark` in its environment."""

    child: pexpect.spawn[str]
    mark: str
    scratch: Path

    def interrupt(self) -> None:
        """Presses Ctrl-C; afterwards nothing is left and little was said."""
        self.child.sendintr()
        said = self.child.read()
        self.child.close()
        assert self.child.exitstatus == pytest.ExitCode.INTERRUPTED, said
        assert processes_with(self.mark) == []
        assert list(self.scratch.iterdir()) == []
        assert "KeyboardInterrupt" in said
        for noise in ("Traceback", "Task was destroyed", "Exception ignored", "booting cold"):
            assert noise not in said, said


@pytest.fixture
def start(kernel_option: list[str], scratch: Path, tmp_path: Path) -> Callable[..., Session]:
    def start(**environment: str) -> Session:
        (tmp_path / "test_one.py").write_text(SUITE)
        mark = uuid.uuid4().hex
        child = pexpect.spawn(
            sys.executable,
            ["-m", "pytest", "-s", "-p", "no:cacheprovider", *kernel_option],
            cwd=str(tmp_path),
            env={**os.environ, "TMPDIR": str(scratch), "KH_TEST_MARK": mark, **environment},
            timeout=60,
            encoding="utf-8",
        )
        return Session(child, mark, scratch)

    return start


@pytest.mark.parametrize("moment", ["collected 1 item", "first guest", "next guest"])
def test_ctrl_c_at_a_terminal_leaves_nothing_and_says_little(
    start: Callable[..., Session], moment: str
) -> None:
    session = start()
    session.child.expect_exact(moment)
    session.interrupt()


def test_ctrl_c_ends_the_first_boot_of_a_machine(
    start: Callable[..., Session], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("cache") / "kmod-harness"
    root.mkdir()
    for entry in default_cache().root.iterdir():
        if entry.name not in ("template", "locks"):
            (root / entry.name).symlink_to(entry)
    session = start(XDG_CACHE_HOME=str(root.parent))
    while not any("qemu-system" in process for process in processes_with(session.mark)):
        assert session.child.isalive()
    session.interrupt()
    assert list(root.glob("template/*")) == [], "it was not booted to its end"


def test_what_fires_late_is_the_fault_of_the_test_that_planted_it_when_it_settles(
    run_suite: RunSuite,
) -> None:
    run = run_suite({"test_late.py": LATE}, "--kh-settle=1.5")
    assert run.tests["test_that_plants_it"].status == ("error",), run.output
    assert "WARNING in late" in run.tests["test_that_plants_it"].texts[0]
    assert run.tests["test_that_plants_it"].seconds > 1.5
    assert run.tests["test_after_it"].status == ("passed",)


def test_two_sessions_at_once_do_not_meet(kernel_option: list[str], tmp_path: Path) -> None:
    suite = "import pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_one(guest, n):\n"
    suite += "    assert not guest.exists('/root/mine')\n    guest.write_file('/root/mine', b'')\n"
    (tmp_path / "test_one.py").write_text(suite)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *kernel_option]
    runs = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(outputs)
    assert all("4 restores" in output for output in outputs), "\n".join(outputs)
