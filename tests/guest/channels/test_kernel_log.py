"""The kernel log: complete when asked for, in order, awaited and not slept for."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness.errors import GuestHang
from kmod_harness.guest.guest import Guest


def say(guest: Guest, text: str) -> None:
    with guest.open("/dev/kmsg", 1) as kmsg:
        kmsg.write(text.encode())


def test_after_a_sync_everything_said_before_is_there(guest: Guest) -> None:
    for round_number in range(20):
        mark = guest.kernel_log.mark()
        for number in range(30):
            say(guest, f"<4>round {round_number} line {number}\n")
        guest.kernel_log.sync(guest.syscaller)
        # the kernel may say something of its own between
        said = guest.kernel_log.since(mark)
        records = [record for record in said if record.text.startswith("round ")]
        assert [record.text for record in records] == [f"round {round_number} line {n}" for n in range(30)]
        assert {(record.level or 0) & 7 for record in records} == {4}


def test_the_harnesss_own_nonces_are_not_in_the_log(guest: Guest) -> None:
    guest.kernel_log.sync(guest.syscaller)

    assert not [record for record in guest.kernel_log.records if "nonce" in record.text]


def test_a_line_that_comes_later_is_awaited(guest: Guest) -> None:
    mark = guest.kernel_log.mark()
    guest.run(["sh", "-c", "(sleep 0.3; echo '<5>here it is' > /dev/kmsg) &"])

    record = guest.kernel_log.await_text("here it is", since=mark)

    assert (record.level or 0) & 7 == 5
    assert record.timestamp is not None and record.timestamp > 0


def test_a_line_that_never_comes_is_a_hang(guest: Guest) -> None:
    started = time.monotonic()
    with pytest.raises(GuestHang, match="'never said'"):
        guest.kernel_log.await_text("never said", timeout=0.3)
    assert time.monotonic() - started < 3


def test_a_sync_completes_while_others_flood_the_log(guest: Guest) -> None:
    guest.run(["sh", "-c", "(while :; do echo '<6>flood' > /dev/kmsg; done) & echo $! > /tmp/flood"])
    try:
        for _ in range(10):
            guest.kernel_log.sync(guest.syscaller)
    finally:
        guest.run(["sh", "-c", "kill -9 $(cat /tmp/flood)"])


def test_the_boot_is_in_the_log_from_its_first_line(guest: Guest) -> None:
    texts = [record.text for record in guest.kernel_log.records]

    assert any(text.startswith("Linux version ") for text in texts[:5])
    assert any("Run /kmod-harness/init as init process" in text for text in texts)


MUTED = "echo N > /sys/module/printk/parameters/ignore_loglevel; dmesg -n 1; {}; dmesg -n 8"


def test_what_a_silent_console_did_not_carry_is_fetched(guest: Guest) -> None:
    mark = guest.kernel_log.mark()
    lines = "; ".join(f"echo '<4>unheard {number}' > /dev/kmsg" for number in range(300))
    guest.run(["sh", "-c", MUTED.format(lines)])

    guest.kernel_log.complete(guest.syscaller)

    fetched = [record.text for record in guest.kernel_log.since(mark) if record.text.startswith("unheard ")]
    assert fetched == [f"unheard {number}" for number in range(300)]
    assert b"unheard 299" in guest.kernel_log.raw
    assert guest.kernel_log.lost == 0


@pytest.mark.expect_splat("WARNING")
def test_a_warning_that_no_console_carried_is_read_all_the_same(guest: Guest, faulty_ko: Path) -> None:
    guest.load(faulty_ko, fault="warn", when="write")
    guest.shell.run(MUTED.format("echo x > /dev/faulty"))


def test_a_flag_of_the_kernels_that_no_report_tells_of_makes_the_log_incomplete(guest: Guest) -> None:
    log = guest.kernel_log
    log.complete(guest.syscaller)
    assert log.incompleteness() is None

    log.counters = replace(log.counters, tainted=1 << 9, warnings=1)

    error = log.incompleteness()
    assert error is not None and error.message == "the kernel warned (taint flag W); no report of it was read"
    log.counters = replace(log.counters, tainted=0, warnings=0)
