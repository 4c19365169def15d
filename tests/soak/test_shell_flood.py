"""1,000 shell commands while the guest floods its kernel log: no output mixed, no status wrong."""

from __future__ import annotations

import pytest

from kmod_harness.guest.guest import Guest

FLOOD = "while :; do echo '<6>flood of the kernel log: kmod 0 : $? end' > /dev/kmsg; done"


@pytest.mark.timeout(900)
def test_1000_commands_while_the_kernel_log_floods(guest: Guest) -> None:
    mark = guest.kernel_log.mark()
    guest.run(["sh", "-c", f"({FLOOD}) & echo $! > /tmp/flood"])
    try:
        guest.kernel_log.await_text("flood of the kernel log", since=mark)
        for number in range(1000):
            result = guest.shell.run(f"echo command {number}; echo err {number} >&2; (exit {number % 256})")
            assert result.output == f"command {number}\nerr {number}\n"
            assert result.status == number % 256
    finally:
        guest.run(["sh", "-c", "kill -9 $(cat /tmp/flood)"])
    assert len(guest.kernel_log.since(mark)) > 1000
