"""Saving a machine and loading it elsewhere: QEMU's migration, to and from a file of this host."""

from __future__ import annotations

import os
import queue
import re
from pathlib import Path
from typing import Any, Protocol

from kmod_harness.errors import GuestHang, StateNotSaved
from kmod_harness.machine.deadline import Deadline
from kmod_harness.machine.qemu_process import Version
from kmod_harness.machine.qmp import CommandRefused
from kmod_harness.machine.watch import Watch

#: The first QEMU that opens a stream's file itself; from 11 on it takes no descriptor of a file any more
#: (migration/file.c, migration/fd.c; docs/about/deprecated.rst of 9.1).
_FILE_SINCE: Version = (8, 2)
#: Seconds a stream may take (times 4 under emulation): a device state 0.02 s, 256 MiB of RAM 0.4 s.
_SECONDS = 60.0


class StateRefused(StateNotSaved):
    """QEMU cannot save a machine with these devices, today or tomorrow."""


def commands_that_load(fd: int, version: Version) -> list[tuple[str, dict[str, Any]]]:
    """Returns the QMP commands that start a machine made with `incoming` from a state in a descriptor.

    fd: QEMU's descriptor of the state's file
    version: QEMU's
    """
    # nobody has to hear of a guest that has moved to where it was: 700 blocks of code to translate
    silently = ("migrate-set-parameters", {"announce-rounds": 0})
    uri = f"file:/proc/self/fd/{fd}" if version >= _FILE_SINCE else f"fd:{fd}"
    return [_capabilities(share_ram=True), silently, ("migrate-incoming", {"uri": uri})]


def _capabilities(share_ram: bool) -> tuple[str, dict[str, Any]]:
    names = {"events": True, "x-ignore-shared": share_ram}
    listed = [{"capability": name, "state": on} for name, on in names.items()]
    return "migrate-set-capabilities", {"capabilities": listed}


#: The section of a stream that says in which state the guest was: type, number, name, instance, version,
#: length of the text, the text (QEMU migration/savevm.c: save_section_header; migration/global_state.c).
_GLOBAL_STATE = re.compile(rb"\x04.{4}\x0bglobalstate.{8}(.{4}[a-z-]+\0)", re.DOTALL)
#: Bytes at a stream's end that hold all but RAM, many times over.
_DEVICE_BYTES = 1 << 22


def _note_as_paused(fd: int) -> None:
    """Has a stream's guest stand still where it is loaded, also one that a breakpoint or a panic stopped.

    QEMU 7.2 gives itself up when it loads a guest that was at a breakpoint (softmmu/runstate.c,
    runstate_transitions_def).
    """
    start = max(0, os.fstat(fd).st_size - _DEVICE_BYTES)
    found = _GLOBAL_STATE.search(os.pread(fd, _DEVICE_BYTES, start))
    if found is not None:
        state = b"paused\0"
        text = len(state).to_bytes(4, "big") + state
        os.pwrite(fd, text.ljust(len(found[1]), b"\0"), start + found.start(1))


class StreamOwner(Protocol):
    """The machine that is saved or loaded, as far as its streams need it."""

    watch: Watch

    @property
    def qemu_version(self) -> Version: ...

    def qmp(self, command: str, arguments: dict[str, Any] | None = None) -> Any: ...

    def pass_fd(self, name: str, fd: int) -> None: ...

    def deadline(self, what: str, seconds: float) -> Deadline: ...


class Migration:
    """The streams of one machine; its Machine owns it, and hands it QMP's MIGRATION events."""

    def __init__(self, machine: StreamOwner) -> None:
        self._machine = machine
        self._statuses: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._told = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def close(self) -> None:
        fd, self._told = self._told, -1
        os.close(fd)

    def note(self, status: str) -> None:
        """Called in the event-loop thread, which ends before `close`."""
        self._statuses.put(status)
        os.eventfd_write(self._told, 1)

    def save_state(self, path: Path) -> None:
        """Writes the device state, the RAM being in a shared file; the guest is stopped for good.

        Raises StateRefused when QEMU cannot, StateNotSaved for a full disk, QemuDied.
        """
        self._prepare(share_ram=True)
        with open(path, "wb") as file:
            self._write(file.fileno())

    def save_all(self, fd: int) -> None:
        """Writes RAM and device state of a stopped guest to a file. Raises as `save_state`."""
        self._prepare(share_ram=False)
        self._write(fd)
        # the event precedes the state from which `cont` is allowed by a moment that no event tells
        while self._machine.qmp("query-status")["status"] == "finish-migrate":
            pass
        _note_as_paused(fd)

    def load_all(self, fd: int) -> None:
        """Returns when a machine made with `incoming` holds what `save_all` wrote."""
        self._prepare(share_ram=False)
        self._machine.qmp("migrate-incoming", {"uri": self._uri(fd)})
        self._await()

    def _prepare(self, *, share_ram: bool) -> None:
        """Leaves RAM that lies in a shared file out of the next stream, or not; has its end told."""
        # what an earlier stream's events said is not the next one's end
        self._statuses = queue.SimpleQueue()
        self._machine.qmp(*_capabilities(share_ram))

    def _write(self, fd: int) -> None:
        # to a file on this machine: QEMU's default of 128 MiB/s is for a network
        self._machine.qmp("migrate-set-parameters", {"max-bandwidth": 1 << 33})
        uri = self._uri(fd)
        try:
            self._machine.qmp("migrate", {"uri": uri})
        except CommandRefused as error:
            raise StateRefused(f"QEMU does not save this machine: {error}") from error
        self._await()

    def _uri(self, fd: int) -> str:
        """Returns the name by which QEMU reaches a descriptor of this process."""
        if self._machine.qemu_version >= _FILE_SINCE:
            return f"file:/proc/{os.getpid()}/fd/{fd}"
        self._machine.pass_fd("state", fd)
        return "fd:state"

    def _await(self) -> None:
        """Returns when the stream is complete. Raises StateNotSaved, QemuDied."""
        deadline = self._machine.deadline("saving or loading a guest", _SECONDS)
        while (status := self._next_status()) != "completed":
            if status in ("failed", "cancelled"):
                reason = self._machine.qmp("query-migrate").get("error-desc", status)
                raise StateNotSaved(f"QEMU did not save or load this guest: {reason}")
            if status:
                continue
            try:
                self._machine.watch.wait([self._told], deadline, of_qemu=True)
                os.eventfd_read(self._told)
            except GuestHang as hang:
                raise StateNotSaved(hang.message) from hang

    def _next_status(self) -> str:
        try:
            return self._statuses.get_nowait()
        except queue.Empty:
            return ""
