"""Records that did not reach the console."""

from __future__ import annotations

from kmod_harness.klog.counters.lost_records import dropped, missing
from kmod_harness.klog.records import parse_console, parse_kmsg

DROPPED = "** 1321 printk messages dropped **"


def test_dropped_records_are_counted_over_all_lines_that_tell_of_some() -> None:
    console = parse_console(f"<6>[    1.000000] thread 1\r\n{DROPPED}\r\n<6>[    1.100000] x\r\n{DROPPED}\n")
    assert dropped(console) == 2642


def test_a_drivers_line_with_these_words_drops_nothing() -> None:
    assert dropped(parse_console(f"<6>[    1.000000] rx: {DROPPED}\n<12>[    1.000000] {DROPPED}\n")) == 0


def test_records_that_the_ring_has_and_the_console_not_are_found_with_all_their_lines() -> None:
    console = parse_console("<6>[    1.000000] one\r\n<6>[    1.000001] two\r\n")
    ring = [
        parse_kmsg("6,1,1000000,-;one\n"),
        parse_kmsg("6,2,1000001,-;two\n"),
        parse_kmsg("4,3,1000002,-;WARNING: x\\x0asecond line\n"),
        parse_kmsg("15,4,1000003,-;kmod-harness-nonce 12ab\n"),
    ]
    found = missing(ring, console)
    assert [record.raw for record in found] == [
        "<4>[    1.000002] WARNING: x",
        "<4>[    1.000002] second line",
    ]
    assert parse_console("\n".join(record.raw for record in found)) == tuple(found)
