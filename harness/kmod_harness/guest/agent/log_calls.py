"""System calls about the kernel log: its counters and then a line into it, and its ring read whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Protocol

from kmod_harness.guest.agent.calls import check
from kmod_harness.guest.agent.protocol import Call, OutUpToResult, Result, ResultOf
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.agent.syscalls import AT_FDCWD
from kmod_harness.klog.counters.kernel_counters import KernelCounters, number_in
from kmod_harness.klog.records import KernelRecord, parse_kmsg

#: The counts are there from 6.2 on, and from 6.1.8 (kernel/panic.c, kernel/exit.c).
_COUNTERS = (b"/proc/sys/kernel/tainted\0", b"/sys/kernel/warn_count\0", b"/sys/kernel/oops_count\0")
_KMSG = b"/dev/kmsg\0"
#: A record of /dev/kmsg at its longest (CONSOLE_EXT_LOG_MAX, kernel/printk/printk.c, 6.1).
_RECORD_BYTES = 8192
#: So many fit a frame of the agent's.
_READS = 100
#: More records than the largest ring of a guest's holds: it is not trusted to end.
_MOST_RECORDS = 1 << 19


class Caller(Protocol):
    """The process that makes the calls."""

    def batch(self, calls: Sequence[Call]) -> list[Result]: ...


def calls_that_log(line: bytes) -> list[Call]:
    """Return calls that read the kernel's counters and then write a line into its log.

    In this order, since a report is in the log before it is counted: what is counted must be told above the
    line.
    """
    calls: list[Call] = []
    for path in _COUNTERS:
        opened = ResultOf(len(calls))
        calls += [
            Call(NUMBERS["openat"], (AT_FDCWD, path, os.O_RDONLY, 0)),
            Call(NUMBERS["read"], (opened, OutUpToResult(64), 64)),
            Call(NUMBERS["close"], (opened,)),
        ]
    opened = ResultOf(len(calls))
    return [
        *calls,
        Call(NUMBERS["openat"], (AT_FDCWD, _KMSG, os.O_RDWR | os.O_NONBLOCK, 0)),
        Call(NUMBERS["lseek"], (opened, 0, os.SEEK_END)),
        Call(NUMBERS["write"], (opened, line, len(line))),
        # the first record since: it tells how many came before it
        Call(NUMBERS["read"], (opened, OutUpToResult(_RECORD_BYTES), _RECORD_BYTES)),
        Call(NUMBERS["close"], (opened,)),
    ]


def counters_read(results: Sequence[Result]) -> KernelCounters:
    """Return the counters that these calls read. Raises OSError when the line was not written."""
    *files, opened, _, written, read, _ = results
    check(opened, "/dev/kmsg")
    check(written, "/dev/kmsg")
    tainted, warnings, oopses = (
        number_in(result.buffers[0]) if result.errno == 0 else None for result in files[1::3]
    )
    logged = _number_of(read.buffers[0]) if read.errno == 0 else None
    return KernelCounters(tainted, warnings, oopses, logged)


def read_ring(process: Caller) -> list[KernelRecord]:
    """Return the records that the kernel's ring holds now, oldest first. Raises OSError."""
    (opened,) = process.batch([Call(NUMBERS["openat"], (AT_FDCWD, _KMSG, os.O_RDONLY | os.O_NONBLOCK, 0))])
    check(opened, "/dev/kmsg")
    reads = [Call(NUMBERS["read"], (opened.value, OutUpToResult(_RECORD_BYTES), _RECORD_BYTES))] * _READS
    records: list[KernelRecord] = []
    try:
        while len(records) < _MOST_RECORDS:
            results = process.batch(reads)
            for result in results:
                if result.errno == 0:
                    records.append(parse_kmsg(result.buffers[0]))
            # EPIPE: records were overwritten before they were read, and the next read goes on behind them
            if any(result.errno not in (0, errno.EPIPE) for result in results):
                break
    finally:
        process.batch([Call(NUMBERS["close"], (opened.value,))])
    return records


def _number_of(record: bytes) -> int | None:
    """Return the sequence number of `6,339,5140900,-;text` (Documentation/ABI/testing/dev-kmsg)."""
    fields = record.split(b",", 2)
    return number_in(fields[1]) if len(fields) == 3 else None
