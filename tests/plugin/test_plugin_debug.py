"""--kh-debug: a failing test's guest waits for gdb, and its deadlines with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from kmod_harness.build.kernels import Kernel

SUITE = """
def test_fails(guest):
    guest.load({chardev!r})
    assert not guest.exists("/sys/module/chardev"), "on purpose"

def test_after_it(guest):
    assert not guest.exists("/sys/module/chardev")
"""


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

    # when: gdb comes, with the module's symbols in place
    told = subprocess.run(
        ["gdb", "-q", "-x", script, "-batch", "-ex", "info symbol chardev_open", "-ex", "p minors"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    if run_kernel.vmlinux is not None:
        assert "chardev_open in section .text" in told
        assert "$1 = 1" in told

    # and: Enter is pressed
    session.sendline("")
    session.expect(r"1 failed, 1 passed")
    session.expect(pexpect.EOF)
