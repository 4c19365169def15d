"""Logs as dmesg, journald, syslog and CI systems write them down."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import find_splats
from kmod_harness.klog.syslog.prefixes import parse_copied_log

MESSAGE = " faulty_init+0x159/0x1000 [faulty]"
PREFIXES = (
    "[Tue Mar  5 09:14:02 2024] ",  # dmesg -T
    "[Di Mär  5 09:14:02 2024] ",
    "[Mar 5 09:14] ",  # dmesg -H
    "[  +0.000012] ",
    "[    1.880152 <    0.000012>] ",  # dmesg -d
    "[2024-03-05T09:14:02,123456+00:00] ",
    "2024-03-05T09:14:02,123456+00:00 ",  # dmesg --time-format iso
    "1709630042.123456 ",
    "kern  :warn  : [Tue Mar  5 09:14:02 2024] ",  # dmesg -x
    "kern  :warn  : [    1.880152] ",
    "kern  :err   : 2024-03-05T09:14:02,123456+00:00 ",
    "Mar 05 09:14:02 box kernel: ",  # journalctl
    "Mar 05 09:14:02.123456 box.example.org kernel: ",
    "mars 05 09:14:02 box kernel: ",
    "5. Mär 09:14:02 box kernel: ",
    "2024-03-05T09:14:02+0100 box kernel: ",  # journalctl -o short-iso
    "2024-03-05 09:14:02 UTC box kernel: ",
    "Tue 2024-03-05 09:14:02 UTC box kernel: ",  # -o short-full
    "1709630042.123456 box kernel: ",  # -o short-unix
    "[    1.880152] box kernel: ",  # -o short-monotonic
    "Mar  5 09:14:02 box kernel: [    1.880152] ",  # rsyslog
    "Mar  5 09:14:02 box kernel: [    1.880152][   T31] ",
    "<4>Mar  5 09:14:02 box kernel: [    1.880152] ",
    "<4>1 2024-03-05T09:14:02.123Z box kernel - - - ",  # RFC 5424
    "<4>1 2024-03-05T09:14:02.123Z box kernel - - - [    1.880152] ",
    "[    1.880152] [   T31] ",  # dmesg with PRINTK_CALLER
    "[    1.880152] [    C0] ",
    "2024-03-05T09:14:02.1234567Z ",  # a CI system's
    "2024-03-05T09:14:02.1234567Z [    1.880152] ",
    "2024-03-05T09:14:02Z Mar 05 09:14:02 box kernel: [    1.880152] ",
    "[09:14:02] ",
    "09:14:02.123: ",
    "vm-1   | [    1.880152] ",
    "kernel: ",
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_message_begins_behind_the_prefix(prefix: str) -> None:
    (record,) = parse_copied_log(prefix + MESSAGE + "\r\n")
    assert record.text == MESSAGE
    assert record.raw == prefix + MESSAGE


@pytest.mark.parametrize(
    "line",
    [
        "Call Trace:",
        " <TASK>",
        "RIP: 0010:faulty_oops+0x5/0x17 [faulty]",
        "CPU: 0 PID: 31 Comm: harness-worker Tainted: G           O       6.1.176-kmod-harness #1 ",
        "Modules linked in: faulty(O+)",
        "RAX: ffffffffc0056041 RBX: 00000000fffffff4 RCX: 0000000000000003",
        "May we go? 12:30 is late",
        "usb 1-1: new high-speed USB device number 2 using xhci_hcd",
        "[drm] no device",
        "",
    ],
)
@pytest.mark.parametrize("prefix", ["", "[    1.880152] ", "<4>[    1.880152] "])
def test_what_the_kernel_itself_writes_is_read_as_on_a_console(prefix: str, line: str) -> None:
    assert [*parse_copied_log(prefix + line)] == [*parse_console(prefix + line + "\n")]


def test_level_time_and_caller_are_read_wherever_they_stand() -> None:
    (record,) = parse_copied_log("2024-03-05T09:14:02Z <12>[    1.880152][   T31] a program's")
    assert (record.level, record.facility, record.timestamp, record.caller) == (4, 1, 1.880152, "T31")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_report_is_found_behind_each_prefix(prefix: str) -> None:
    said = ("WARNING: CPU: 0 PID: 31 at a.c:1 f+0x1/0x2 [m]", "RIP: 0010:f+0x1/0x2 [m]", "Call Trace:")
    log = "".join(f"{prefix}{line}\n" for line in (*said, " g+0x1/0x2 [m]", "---[ end trace 0 ]---"))
    assert [splat.title for splat in find_splats(parse_copied_log(log))] == ["WARNING in f"]


@given(st.text(max_size=300))
def test_every_line_of_any_text_is_kept(text: str) -> None:
    lines = text.replace("\0", "").removesuffix("\n").split("\n")
    raws = "".join(record.raw for record in parse_copied_log(text.replace("\0", "")))
    assert raws.replace("\r", "") == "".join(lines).replace("\r", "")


def test_a_long_line_without_a_prefix_takes_no_time() -> None:
    started = time.monotonic()
    parse_copied_log("A " * 2_000_000)
    parse_copied_log("12:12:12 " * 200_000)
    assert time.monotonic() - started < 5
