"""What the calls about the kernel log are, and how their answers are read."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from kmod_harness.guest.agent.log_calls import calls_that_log, counters_read, read_ring
from kmod_harness.guest.agent.protocol import Call, Result
from kmod_harness.klog.counters.kernel_counters import KernelCounters


def answer(content: bytes = b"", error: int = 0) -> Result:
    return Result(-error or len(content), (content,))


def file(content: bytes) -> list[Result]:
    return [answer(), answer(content), answer()]


ABSENT = [answer(error=errno.ENOENT), answer(error=errno.EBADF), answer(error=errno.EBADF)]
NONCE = b"15,412,5140900,-;kmod-harness-nonce 1f\n"


def logged(record: Result, opened: Result | None = None) -> list[Result]:
    return [opened or answer(), answer(), answer(b"line"), record, answer()]


def test_the_counters_are_read_before_the_line_is_written() -> None:
    names = [call.arguments for call in calls_that_log(b"<7>x\n")]
    paths = [argument for arguments in names for argument in arguments if isinstance(argument, bytes)]
    assert paths == [
        b"/proc/sys/kernel/tainted\0",
        b"/sys/kernel/warn_count\0",
        b"/sys/kernel/oops_count\0",
        b"/dev/kmsg\0",
        b"<7>x\n",
    ]


def test_each_counter_is_read_from_its_answer() -> None:
    results = [*file(b"4608\n"), *file(b"1\n"), *file(b"0\n"), *logged(answer(NONCE))]
    assert len(results) == len(calls_that_log(b"x"))
    assert counters_read(results) == KernelCounters(4608, 1, 0, 412)


def test_a_kernel_without_counts_tells_none() -> None:
    results = [*ABSENT, *ABSENT, *ABSENT, *logged(answer(error=errno.EAGAIN))]
    assert counters_read(results) == KernelCounters()


def test_a_guest_without_kmsg_cannot_be_asked() -> None:
    gone = answer(error=errno.ENOENT)
    with pytest.raises(OSError, match="/dev/kmsg"):
        counters_read([*file(b"0\n"), *ABSENT, *ABSENT, *logged(gone, opened=gone)])


class Ring:
    """A process of a guest whose /dev/kmsg answers reads with these, and then with EAGAIN."""

    def __init__(self, answers: Sequence[Result]) -> None:
        self.answers = list(answers)

    def batch(self, calls: Sequence[Call]) -> list[Result]:
        if len(calls) == 1:
            return [Result(3)]
        end = answer(error=errno.EAGAIN)
        return [self.answers.pop(0) if self.answers else end for _ in calls]


def test_a_ring_is_read_to_its_end_over_records_that_are_overwritten_meanwhile() -> None:
    lines = [answer(f"6,{number},1000000,-;line {number}\n".encode()) for number in range(250)]
    records = read_ring(Ring([*lines[:5], answer(error=errno.EPIPE), *lines[20:]]))
    assert [record.text for record in records] == [f"line {n}" for n in (*range(5), *range(20, 250))]
