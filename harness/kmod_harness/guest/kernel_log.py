"""The kernel log of one guest, as ttyS0 carries it: complete up to a nonce on demand."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kmod_harness.guest.agent.calls import check
from kmod_harness.guest.agent.protocol import Call, ResultOf
from kmod_harness.guest.agent.syscalls import AT_FDCWD, NUMBERS
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
        #: where modules lay: the kernel tells of one that is gone by bare addresses
        self.addresses = ModuleAddresses()
        self.records: list[KernelRecord] = []
        # a restored guest's log goes on where its template's ended
        self._note(parse_console(boot_log))
        #: where this guest's own records begin: those before it were judged before the guest was saved
        self.restore_mark = len(self.records)

    @property
    def raw(self) -> bytes:
        """Everything ttyS0 carried since the boot, as it came."""
        return self._boot_log + self._machine.console.path.read_bytes()

    def take_in(self) -> None:
        """Takes in what the console has written until now, without waiting."""
        self._note(self._parser.feed(self._machine.console.read_new()))

    def _note(self, records: Iterable[KernelRecord]) -> None:
        for record in records:
            if record.text.startswith(NONCE):
                self._nonces.add(record.text.removeprefix(NONCE).strip())
            else:
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

        return find_splats(self.since(mark), self.addresses.name_of)

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
        calls = [
            Call(NUMBERS["openat"], (AT_FDCWD, b"/dev/kmsg\0", os.O_WRONLY, 0)),
            Call(NUMBERS["write"], (ResultOf(0), line, len(line))),
            Call(NUMBERS["close"], (ResultOf(0),)),
        ]
        for result in process.batch(calls)[:2]:
            check(result, "/dev/kmsg")
        deadline = self._machine.deadline("the kernel log's way to ttyS0", SYNC_SECONDS)
        while nonce not in self._nonces:
            self._wait(deadline)
        self._nonces.discard(nonce)

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
