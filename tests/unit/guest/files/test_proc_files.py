"""Whole files and directories of the guest out of the results of one batch."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.guest.agent.protocol import Result, ResultOf
from kmod_harness.guest.agent.syscalls import parse_entries
from kmod_harness.guest.files.proc_files import calls_that_read, content


def results(*parts: bytes) -> list[Result]:
    return [Result(3), *(Result(len(part), (part,)) for part in parts), Result(0)]


def test_reads_that_met_the_end_are_the_whole_file() -> None:
    assert content(results(b"one\n", b"two\n", b""), "/proc/modules") == (b"one\ntwo\n", True)


def test_a_file_that_may_go_on_is_not_whole() -> None:
    assert content(results(b"one\n", b"two\n", b"three\n"), "/proc/modules") == (b"one\ntwo\nthree\n", False)


def test_a_file_that_is_not_there_is_named() -> None:
    refused = [Result(-errno.ENOENT), *[Result(-errno.EBADF, (b"",))] * 3, Result(-errno.EBADF)]
    with pytest.raises(FileNotFoundError) as error:
        content(refused, "/proc/nothing")
    assert error.value.filename == "/proc/nothing"


def test_behind_other_calls_it_refers_to_its_own_descriptor() -> None:
    assert {call.arguments[0] for call in calls_that_read("/proc/modules", 7)[1:]} == {ResultOf(7)}


def entry(name: bytes, kind: int) -> bytes:
    size = (19 + len(name) + 1 + 7) // 8 * 8
    return (struct.pack("<QqHB", 1, 2, size, kind) + name).ljust(size, b"\0")


def test_devices_are_told_from_directories_and_links() -> None:
    listing = entry(b"null", 2) + entry(b"vda", 6) + entry(b"pts", 4) + entry(b"fd", 10)
    found = parse_entries(listing)
    assert [(e.name, e.is_device) for e in found] == [
        ("null", True),
        ("vda", True),
        ("pts", False),
        ("fd", False),
    ]


@given(st.binary(max_size=300))
def test_whatever_a_guest_sends_ends(data: bytes) -> None:
    assert len(parse_entries(data)) <= len(data)
