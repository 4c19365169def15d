"""--kh-debug: a failing test's guest waits for gdb, and its deadlines with it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from kmod_harness.build.kernel.kernel import Kernel

SUITE = """
def test_fails(guest):
    guest.load({chardev!r})
    assert not guest.exists("/sys/module/chardev"), "on purpose"

def test_after_it(guest):
    assert not guest.exists("/sys/module/chardev")
"""


def gdb_says(script: str, *commands: str) -> str:
    """What gdb prints at the guest that a session's script leads to."""
    words = [word for command in commands for word in ("-ex", command)]
    command = ["gdb", "-q", "-x", script, "-batch", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.needs("gdb")
def test_a_failing_tests_guest_stands_still_for_gdb_and_the_session_goes_on(
    tmp_path: Path, chardev_ko: Path, kernel_option: list[str], run_kernel: Kernel
) -> None:
    # given: a terminal with a suite whose first test fails
    (tmp_path / "test_driver.py").write_text(SUITE.format(chardev=str(chardev_ko)))
    words = ["-m", "pytest", "-s", "-p", "no:cacheprovider", "--color=no", "--kh-debug", *kernel_option]
    session = pexpect.spawn(sys.executable, words, cwd=str(tmp_path), encoding="utf-8", timeout=120)
    session.setwinsize(50, 300)
    session.expect(r"test_fails failed; its guest stands still.*gdb -q -x (\S+)\r\n")
    assert session.match is not None
    script = session.match[1]

    # when: gdb comes
    told = gdb_says(script, "p $rip")
    assert re.search(r"^\$1 = .*0xffffffff", told, re.MULTILINE)

    # and: the module's symbols are in place, where the kernel comes with its own
    if run_kernel.vmlinux is not None:
        told = gdb_says(script, "info symbol chardev_open", "p minors")
        assert "chardev_open in section .text" in told
        assert "$1 = 1" in told

    # and: Enter is pressed
    session.sendline("")
    session.expect(r"1 failed, 1 passed")
    session.expect(pexpect.EOF)
