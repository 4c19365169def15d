"""The one function that waits: for bytes, the machine's end and the deadline together.

Every channel awaits its bytes here, so that a QEMU that dies or a kernel that
panics is known at once everywhere, whoever was waiting for what.
"""

from __future__ import annotations

import os
import re
import select
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from kmod_harness.errors import AgentEnded, GuestHang, GuestRebooted, KernelPanic, MachineFailure, QemuDied
from kmod_harness.machine.deadline import Deadline

#: Lines of the kernel log that go with a failure.
_EVIDENCE_LINES = 25
#: A panic's registers, trace and list of modules stand behind its first line: with room.
_PANIC_LINES = 400
#: What the kernel says before it resets, and when it halts (kernel/reboot.c, drivers/tty/sysrq.c, 6.1).
_ANNOUNCED = re.compile(r"^\s*(?:(?:<\d+>)?(?:\[[^]]*\])* ?)?(?:reboot: |sysrq: Resetting)", re.MULTILINE)
_HALTED = re.compile(r"^\s*(?:(?:<\d+>)?(?:\[[^]]*\])* ?)?reboot: System halted\s*\Z", re.MULTILINE)


class Trap(Protocol):
    """A breakpoint that whoever waits looks after (machine/gdb/trap.py)."""

    def fileno(self) -> int: ...

    def was_hit(self) -> bool: ...

    def handle_hit(self) -> None: ...

    def remove(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class MachineEnd:
    """Why the guest stopped being usable: `panic`, `reset`, `poweroff`, or `agent`, which ended."""

    kind: str


class Watch:
    """Knows whether one QEMU process and its guest are alive; owned by its Machine.

    `end` is set from the event-loop thread by QMP events and read by whoever waits.
    `console_tail(lines)` gives the last lines of the kernel log.
    """

    def __init__(
        self, pid: int, describe_death: Callable[[], str], console_tail: Callable[[int], str]
    ) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self._describe_death = describe_death
        self._console_tail = console_tail
        self._changed = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._closed = False
        self.end: MachineEnd | None = None
        self._trap: Trap | None = None

    def close(self) -> None:
        # an event that comes now must not be written to whatever gets this number next
        with self._lock:
            self._closed = True
            trap, self._trap = self._trap, None
        if trap is not None:
            trap.close()
        os.close(self.pidfd)
        os.close(self._changed)

    def set_end(self, kind: str) -> None:
        """The first reason stays; called from any thread."""
        with self._lock:
            if self.end is None and not self._closed:
                self.end = MachineEnd(kind)
                os.eventfd_write(self._changed, 1)

    def set_trap(self, trap: Trap | None) -> None:
        """Has whoever waits handle_hit the trap when the guest is in it; one of before is removed."""
        with self._lock:
            before, self._trap = self._trap, trap
        if before is not None:
            before.remove()

    def _handle_trap(self) -> None:
        """Springs the trap if the guest is in it; of two threads that wait, one does."""
        with self._lock:
            trap = self._trap
            try:
                if trap is None or not trap.was_hit():
                    return
            except ConnectionError:
                self._trap = None
                return
            self._trap = None
        # it may wait in turn
        trap.handle_hit()

    def qemu_is_alive(self) -> bool:
        return not _readable([self.pidfd], 0)

    def wait(
        self,
        readable: Collection[int],
        deadline: Deadline,
        writable: Collection[int] = (),
        *,
        of_qemu: bool = False,
    ) -> set[int]:
        """Returns the descriptors that are ready, at least one.

        Raises QemuDied, KernelPanic, GuestRebooted or AgentEnded when the machine ends first,
        GuestHang when the deadline passes. `of_qemu`: QEMU is to do something, whatever became of its
        guest. Bytes that have arrived come before an
        end: what the guest said last is not lost.
        """
        while True:
            if self._trap is not None:
                self._handle_trap()
            ready = self._poll(readable, writable, deadline, of_qemu=of_qemu)
            if ready:
                return ready
            if not of_qemu or not self.qemu_is_alive():
                self.raise_if_ended()
            if deadline.passed:
                self._raise_if_halted()
                raise GuestHang(
                    f"{deadline.what} took longer than {deadline.seconds:g} s",
                    evidence=self._console_tail(_EVIDENCE_LINES),
                    advice=f"if it may take that long, give it more: {deadline.prolonged_by}"
                    if deadline.prolonged_by
                    else "",
                )

    def raise_if_ended(self) -> None:
        """Raises the failure that says how the machine ended; returns while it runs."""
        if not self.qemu_is_alive():
            raise QemuDied(
                f"QEMU (process {self.pid}) ended on its own",
                evidence=self._describe_death(),
                advice="the message above is QEMU's; `kmod-harness doctor` checks the installation",
            )
        if self.end is not None:
            raise self._failure(self.end)

    def wait_for_end(self, seconds: float) -> None:
        """Raises as soon as the machine has ended; returns after `seconds` if it has not.

        For a channel that met its end of file: the reason follows within moments.
        """
        if self.has_ended:
            self.raise_if_ended()
        _readable([self.pidfd, self._changed], seconds)
        self.raise_if_ended()

    @property
    def has_ended(self) -> bool:
        """True when QEMU is gone or its guest has panicked, reset or powered off."""
        return self.end is not None or not self.qemu_is_alive()

    def _failure(self, end: MachineEnd) -> MachineFailure:
        tail = self._console_tail(_PANIC_LINES)
        if end.kind == "panic" or (end.kind == "reset" and "Kernel panic" in tail):
            return KernelPanic("the guest's kernel panicked", evidence=from_panic(tail))
        evidence = self._console_tail(_EVIDENCE_LINES)
        # a halt closes the agent's port too
        if end.kind == "agent" and _HALTED.search(evidence):
            return GuestRebooted("the guest halted by itself", evidence=evidence)
        if end.kind == "agent":
            return AgentEnded(
                "the harness's agent in the guest ended",
                evidence=evidence,
                advice="something in the guest killed it: kill -1, sysrq i, the kernel out of memory; what "
                "came after it was not judged",
            )
        if end.kind == "reset" and not _ANNOUNCED.search(tail):
            return GuestRebooted(
                "the guest's CPU was reset without a word",
                evidence=evidence,
                advice="a triple fault does that, or a write to a reset port (0x64, 0x92, 0xcf9)",
            )
        word = "reset" if end.kind == "reset" else "powered off"
        return GuestRebooted(f"the guest {word} by itself", evidence=evidence)

    def _raise_if_halted(self) -> None:
        """Raises GuestRebooted for a guest whose CPUs stand still because it was told to halt."""
        tail = self._console_tail(_EVIDENCE_LINES)
        if _HALTED.search(tail):
            raise GuestRebooted("the guest halted by itself", evidence=tail)

    def _poll(
        self, readable: Collection[int], writable: Collection[int], deadline: Deadline, *, of_qemu: bool
    ) -> set[int]:
        poll = select.poll()
        for fd in readable:
            poll.register(fd, select.POLLIN)
        for fd in writable:
            poll.register(fd, select.POLLOUT | (select.POLLIN if fd in readable else 0))
        watched = {self.pidfd}
        poll.register(self.pidfd, select.POLLIN)
        if self.end is None:
            poll.register(self._changed, select.POLLIN)
            watched.add(self._changed)
        trap = self._trap
        trapped = -1 if trap is None else trap.fileno()
        if trapped >= 0:
            poll.register(trapped, select.POLLIN)
            watched.add(trapped)
        has_ended = not self.qemu_is_alive() if of_qemu else self.has_ended
        timeout = 0.0 if has_ended else deadline.remaining
        # rounded up: a poll that wakes early would only spin; poll(2) takes an int of milliseconds
        events = poll.poll(None if timeout is None else int(min(timeout, 3600.0) * 1000 + 0.999))
        return {fd for fd, _ in events} - watched


def from_panic(tail: str) -> str:
    """Returns a log's tail from the panic's first line on, a few lines of what led there before it."""
    lines = tail.splitlines()
    at = next((index for index, line in enumerate(lines) if "Kernel panic" in line), -_EVIDENCE_LINES)
    if at < 0:
        return "\n".join(lines[at:])
    return "\n".join(lines[max(0, at - 5) :])


def _readable(fds: Collection[int], seconds: float) -> bool:
    """True when one of them is readable within `seconds`; by poll(2), which takes any number."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return bool(poll.poll(int(seconds * 1000 + 0.999)))
