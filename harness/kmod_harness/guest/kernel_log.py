"""The kernel log of one guest, as ttyS0 carries it: complete up to a nonce on demand."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kmod_harness.errors import LogIncomplete, LogUnreachable
from kmod_harness.guest.agent.log_calls import calls_that_log, counters_read, read_ring
from kmod_harness.klog.counters.kernel_counters import KernelCounters, unreported
from kmod_harness.klog.counters.lost_records import dropped, missing
from kmod_harness.klog.reading import NONCE, for_reading
from kmod_harness.klog.records import ConsoleParser, KernelRecord, parse_console
from kmod_harness.kmod.layout.module_addresses import ModuleAddresses
from kmod_harness.machine.deadline import Deadline
from kmod_harness.machine.machine import Machine

if TYPE_CHECKING:
    from kmod_harness.guest.process import Process
    from kmod_harness.klog.ktap import KtapResult
    from kmod_harness.klog.splats import Splat

#: Seconds the nonce may take from /dev/kmsg to ttyS0 (times 4 under emulation).
SYNC_SECONDS = 15.0

_MORE_LOG = "less that is printed loses less; a larger log: --append log_buf_len=64M --memory 1G"
_WHAT_HIDES = (
    "what hides a report: a console that was switched off and a log that was overwritten; add_taint()"
)


def records_of(log: bytes) -> list[KernelRecord]:
    """Returns the records of a guest's console log, without the harness's own nonces."""
    return [record for record in parse_console(log) if not record.text.startswith(NONCE)]


class KernelLog:
    """Every record since the boot; a mark is an index into `records`.

    The harness's own nonces are not among the records.
    """

    def __init__(self, machine: Machine, boot_log: bytes = b"") -> None:
        self._machine = machine
        self._parser = ConsoleParser()
        self._nonces: set[str] = set()
        self._boot_log = boot_log
        #: lines with a prefix of the kernel's that ttyS0 carried, nonces included
        self._lines = 0
        #: records that the kernel had and ttyS0 did not carry
        self._fetched: list[KernelRecord] = []
        #: as they were at the last `sync`
        self.counters = KernelCounters()
        #: where modules lay: the kernel tells of one that is gone by bare addresses
        self.addresses = ModuleAddresses()
        self.records: list[KernelRecord] = []
        #: so many records had come when the guest last gave a sign of life
        self.survived = 0
        # a restored guest's log goes on where its template's ended
        self._note(parse_console(boot_log))
        #: where this guest's own records begin: those before it were judged before the guest was saved
        self.restore_mark = len(self.records)

    @property
    def raw(self) -> bytes:
        """Everything ttyS0 carried since the boot, as it came."""
        fetched = "".join(f"{record.raw}\n" for record in self._fetched).encode("utf-8", "replace")
        carried = self._boot_log + self._machine.console.path.read_bytes()
        return carried + b"\n" + fetched if fetched else carried

    def take_in(self) -> None:
        """Takes in what the console has written until now, without waiting."""
        self._note(self._parser.feed(self._machine.console.read_new()))

    def _note(self, records: Iterable[KernelRecord]) -> None:
        for record in records:
            self._lines += record.has_prefix
            # not at its start where the console tells no time (printk.time=0) and a program wrote before it
            text, nonce, number = record.text.partition(NONCE)
            if nonce:
                self._nonces.add(number.strip())
                self.survived = len(self.records)
            if text or not nonce:
                self.records.append(record)

    def mark(self) -> int:
        """Returns the place behind the last record seen until now."""
        self.take_in()
        return len(self.records)

    def since(self, mark: int) -> tuple[KernelRecord, ...]:
        self.take_in()
        return tuple(self.records[mark:])

    def text_since(self, mark: int) -> str:
        """Returns the lines behind a mark, without priorities."""
        return "\n".join(for_reading(record.raw for record in self.since(mark)))

    def splats_since(self, mark: int) -> tuple[Splat, ...]:
        from kmod_harness.klog.splats import find_splats  # lazy

        records = self.since(mark)
        return find_splats(
            records,
            self.addresses.name_of,
            survived=max(0, self.survived - mark),
            has_prefixes=self._lines > 0 or None,
        )

    def ktap(self, since: int = 0) -> tuple[KtapResult, ...]:
        """Returns the cases that KUnit suites reported behind a mark; () when none ran."""
        from kmod_harness.klog.ktap import ktap_results  # lazy

        return ktap_results(self.since(since))

    def sync(self, process: Process) -> None:
        """Returns when everything the kernel said before this call is in `records`.

        A nonce goes in through /dev/kmsg and comes out on ttyS0 behind all of it.
        Raises GuestHang when it does not, and what Watch.wait raises.
        """
        nonce = os.urandom(8).hex()
        line = f"<7>{NONCE}{nonce}\n".encode()
        results = process.batch(calls_that_log(line))
        try:
            self.counters = counters_read(results)
        except OSError as error:
            raise LogUnreachable(
                f"the guest's kernel log cannot be reached any more: {error}",
                advice="something in the guest removed /dev/kmsg or unmounted /dev; its kernel is not judged "
                "from here on",
            ) from error
        deadline = self._machine.deadline("the kernel log's way to ttyS0", SYNC_SECONDS)
        while nonce not in self._nonces:
            self._wait(deadline)
        self._nonces.discard(nonce)

    def complete(self, process: Process) -> None:
        """Does as `sync`, and fetches what the kernel logged and ttyS0 did not carry, as far as it still has
        it.

        It is looked for where the kernel counted more records than came, or troubles that none of them tells.
        """
        self.sync(process)
        if self._lacking or self._unreported():
            self._fetch_missing(process)

    def _fetch_missing(self, process: Process) -> None:
        """Adds the records that the kernel's ring holds and ttyS0 did not carry behind the last record."""
        found = missing(read_ring(process), self.records)
        self._fetched += found
        self._lines += len(found)
        self.records += found

    @property
    def lost(self) -> int:
        """How many records the kernel logged that are nowhere any more: by its numbers, or by its word."""
        return max(self._lacking, dropped(self.records) - len(self._fetched), 0)

    @property
    def _lacking(self) -> int:
        return max(0, (self.counters.logged or 0) - self._lines)

    def _unreported(self) -> tuple[str, ...]:
        """Returns what the kernel counted and no report of this boot tells."""
        if not self.counters.has_trouble:
            return ()
        return unreported(self.counters, self.splats_since(0))

    def incompleteness(self) -> LogIncomplete | None:
        """Returns the error for a log that lacks records or what the kernel counted, None for a whole one."""
        clauses, lost = self._unreported(), self.lost
        if not clauses and not lost:
            return None
        gone = f"{lost} record{'s' if lost != 1 else ''} of the kernel log lost"
        return LogIncomplete(
            f"the kernel {' and '.join(clauses)}; no report of it was read" if clauses else gone,
            evidence="\n".join((*([gone] if clauses and lost else ()), str(self.counters))),
            advice=_MORE_LOG if lost else _WHAT_HIDES,
        )

    def await_text(self, text: str, *, since: int = 0, timeout: float | None = None) -> KernelRecord:
        """Returns the first record behind `since` that holds `text`, waiting for it.

        Raises GuestHang after `timeout` seconds (default: SYNC_SECONDS, scaled).
        """
        what = f"a kernel log line with {text!r}"
        deadline = self._machine.deadline(
            what, SYNC_SECONDS if timeout is None else timeout, exact=timeout is not None
        )
        at = since
        self.take_in()
        while True:
            for record in self.records[at:]:
                if text in record.text:
                    return record
            at = len(self.records)
            self._wait(deadline)

    def _wait(self, deadline: Deadline) -> None:
        self._machine.watch.wait([self._machine.console.fileno()], deadline)
        self.take_in()
