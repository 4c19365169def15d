"""The serial shell: exact while the kernel's log floods, since no printk lands on its port."""

from __future__ import annotations

import pytest

from kmod_harness.errors import GuestHang
from kmod_harness.guest.guest import Guest

FLOOD = "while :; do echo '<6>flood of the kernel log: kmod 0 : $? end' > /dev/kmsg; done"


def test_output_status_and_state(guest: Guest) -> None:
    assert guest.shell.run("cd /proc && echo hello; (exit 42)").status == 42
    assert guest.shell.run("pwd").output == "/proc\n"


def test_lines_as_long_as_the_terminal_takes(guest: Guest) -> None:
    assert guest.shell.run("echo " + "x" * 3960).output == "x" * 3960 + "\n"


def test_a_syntax_error_and_a_hang_leave_a_shell_that_works(guest: Guest) -> None:
    assert guest.shell.run("if").status != 0
    for number in range(10):
        with pytest.raises(GuestHang):
            guest.shell.run("cat", timeout=0.2)
        assert guest.shell.run(f"echo fine {number}", timeout=20).output == f"fine {number}\n"


def test_50_commands_while_the_kernel_log_floods(guest: Guest) -> None:
    mark = guest.kernel_log.mark()
    guest.run(["sh", "-c", f"({FLOOD}) & echo $! > /tmp/flood"])
    try:
        guest.kernel_log.await_text("flood of the kernel log", since=mark)
        for number in range(50):
            result = guest.shell.run(f"echo command {number}; (exit {number})")
            assert (result.output, result.status) == (f"command {number}\n", number)
    finally:
        guest.run(["sh", "-c", "kill -9 $(cat /tmp/flood)"])
    assert len(guest.kernel_log.since(mark)) > 50
