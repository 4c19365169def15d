"""Records from the serial console and from /dev/kmsg."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmod_harness.klog.records import MAX_LINE_BYTES, ConsoleParser, KernelRecord, parse_console, parse_kmsg


@pytest.mark.parametrize(
    ("line", "level", "timestamp", "caller", "text"),
    [
        ("[    1.234567] chardev: loaded", None, 1.234567, "", "chardev: loaded"),
        ("<6>[    1.234567] chardev: loaded", 6, 1.234567, "", "chardev: loaded"),
        ("<4>[12345.678901][  T123] x", 4, 12345.678901, "T123", "x"),
        ("<30>[    0.000000][    C0] x", 6, 0.0, "C0", "x"),
        ("<3>no time", 3, None, "", "no time"),
        ("[    1.000000]   indented", None, 1.0, "", "  indented"),
        ("[    1.000000] ", None, 1.0, "", ""),
        ("[  772.9189", None, None, "", "[  772.9189"),
        ("plain text", None, None, "", "plain text"),
        ("[T12] not a prefix alone", None, None, "", "[T12] not a prefix alone"),
    ],
)
def test_a_console_line(
    line: str, level: int | None, timestamp: float | None, caller: str, text: str
) -> None:
    (record,) = parse_console(line + "\r\n")
    assert (record.level, record.timestamp, record.text) == (level, timestamp, text)
    assert (record.raw, record.caller) == (line, caller)


@pytest.mark.parametrize(
    ("prefix", "facility", "is_a_programs"),
    [("<4>", 0, False), ("<12>", 1, True), ("<15>", 1, True), ("<30>", 3, True), ("", None, False)],
)
def test_a_prefix_tells_whether_a_program_wrote_the_record(
    prefix: str, facility: int | None, is_a_programs: bool
) -> None:
    (record,) = parse_console(f"{prefix}[    1.000000] x\n")
    assert (record.facility, record.is_a_programs) == (facility, is_a_programs)


WARNING = "<4>[    3.812345] WARNING: CPU: 0"


@pytest.mark.parametrize(
    "before",
    [
        "0" * 380,
        "0" * 40_000,
        "\r[####                ] 20%" * 40,
        "login: ",
        "[ 20%] building",
        "<6>[    3.700000] cut shor",
    ],
)
def test_a_record_begins_wherever_its_prefix_does(before: str) -> None:
    *others, found = parse_console(f"{before}{WARNING}\r\n<6>[    4.000000] y\n")[:-1]
    assert (found.text, found.raw, found.level) == ("WARNING: CPU: 0", WARNING, 4)
    assert "".join(record.raw for record in others) == before.replace("\r", "")


@pytest.mark.parametrize("quoted", ["[    3.812345] BUG: x", "<4>[    1.812345] BUG: x", "[1.8] x", "<4> x"])
def test_a_record_that_quotes_an_earlier_one_is_one_record(quoted: str) -> None:
    line = f"<6>[    9.000000] a tool says: {quoted}"
    (record,) = parse_console(f"{line}\n")
    assert record.raw == line


def test_without_levels_a_prefix_is_the_time_alone() -> None:
    log = "[    3.000000] tty: 12%[    3.100000] BUG: x\n# [    3.200000] BUG: y\n"
    assert [record.text for record in parse_console(log)] == ["tty: 12%", "BUG: x", "# ", "BUG: y"]


def test_a_carriage_return_ends_what_was_overwritten() -> None:
    (first, second) = parse_console("10%\r<3>[    3.812345] BUG: x\r\n")
    assert (first.text, second.text, second.level) == ("10%", "BUG: x", 3)


def test_a_last_line_without_a_newline_is_a_record_once_finished() -> None:
    parser = ConsoleParser()
    assert parser.feed(b"[    1.000000] one\n[    2.0") == [
        KernelRecord(None, 1.0, "one", "[    1.000000] one")
    ]
    assert [record.text for record in parser.finish()] == ["[    2.0"]
    assert parser.finish() == []


def test_nul_bytes_and_bytes_that_are_no_text_are_survived() -> None:
    (record,) = parse_console(b"[    1.000000] a\0b\xff\r\r\n")
    assert record.text == "ab�"


@given(st.binary(), st.lists(st.integers(0, 200)))
@example(b"x" * (2 * MAX_LINE_BYTES) + b"\n[    1.000000] y", [MAX_LINE_BYTES, MAX_LINE_BYTES])
@example(b"x" * MAX_LINE_BYTES + b"\n", [MAX_LINE_BYTES])
def test_records_do_not_depend_on_how_the_bytes_were_cut(data: bytes, cuts: list[int]) -> None:
    parser, start, records = ConsoleParser(), 0, []
    for cut in cuts:
        records += parser.feed(data[start : start + cut])
        start += cut
    records += parser.feed(data[start:])
    records += parser.finish()
    assert tuple(records) == parse_console(data)


console_bytes = st.lists(
    st.sampled_from([b"[", b"]", b"<6>", b"    1.234567", b"\r", b"\n", b"\0", b"T1", b" ", b"text", b"\xc3"])
).map(b"".join)


@given(console_bytes)
def test_byte_by_byte_gives_the_same_as_all_at_once(data: bytes) -> None:
    parser, records = ConsoleParser(), []
    for index in range(len(data)):
        records += parser.feed(data[index : index + 1])
    assert tuple(records + parser.finish()) == parse_console(data)


@given(console_bytes)
def test_every_line_is_one_record_whose_text_ends_its_raw_line(data: bytes) -> None:
    for record in parse_console(data):
        assert record.raw.endswith(record.text)


def test_a_line_that_never_ends_is_cut_instead_of_kept() -> None:
    parser = ConsoleParser()
    records = [record for _ in range(50) for record in parser.feed(b"x" * 10_000)]
    assert sum(len(record.raw) for record in records) >= 500_000 - MAX_LINE_BYTES


def test_kmsg_record_with_escapes_caller_and_dictionary() -> None:
    record = parse_kmsg("30,339,5140900,-,caller=T7;a\\x09b \\xc3\\xa9\n SUBSYSTEM=pci\n")
    assert (record.level, record.timestamp, record.text, record.caller) == (6, 5.1409, "a\tb é", "T7")


@pytest.mark.parametrize("line", ["", "garbage", "6,1", "6,1,x,-;text", "6,1,2,-"])
def test_a_kmsg_line_of_another_form_is_a_record_without_level(line: str) -> None:
    assert parse_kmsg(line) == KernelRecord(None, None, line, line)


@given(st.binary() | st.text())
def test_any_kmsg_input_gives_a_record(data: bytes | str) -> None:
    assert isinstance(parse_kmsg(data), KernelRecord)


@given(st.text())
def test_any_text_gives_records(text: str) -> None:
    assert all(isinstance(record, KernelRecord) for record in parse_console(text))


def test_a_megabyte_fed_byte_by_byte_takes_linear_time() -> None:
    data = b"[    1.234567] some kernel message of usual length\n" * 4000
    start = time.process_time()
    parser = ConsoleParser()
    count = sum(len(parser.feed(data[i : i + 1])) for i in range(len(data)))
    assert count == 4000
    assert time.process_time() - start < 5
