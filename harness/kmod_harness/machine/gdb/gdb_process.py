"""gdb connected to QEMU's stub: one command after the other, while the guest goes on."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from kmod_harness.errors import GuestHang, MachineFailure, MissingTool
from kmod_harness.machine.deadline import Deadline
from kmod_harness.machine.gdb.mi import Record, console_command, parse_record, quote

if TYPE_CHECKING:
    from kmod_harness.machine.machine import Machine

#: Seconds of one command; reading vmlinux's symbols takes longest (times 4 under emulation).
_SECONDS = 30.0
_LEAVING_SECONDS = 10.0

_SETTINGS = (
    # no person answers or turns pages
    "set confirm off",
    # an unknown name is an error, not a breakpoint that waits for a library
    "set breakpoint pending off",
    "set pagination off",
    "set width 0",
    # otherwise gdb asks a server on the Internet for source files
    "set debuginfod enabled off",
    # evaluating the arguments of every frame of a kernel stack takes seconds
    "set print frame-arguments none",
    "set print entry-values no",
    # an address before each frame, also at the beginning of a line
    "set print frame-info location-and-address",
    # gdb reads `-exec-interrupt` while the guest runs
    "set mi-async on",
    # without vmlinux, and before the first answer, gdb knows no architecture
    "set architecture i386:x86-64",
)


class GdbFailed(MachineFailure):
    """gdb answered a command with an error, or ended."""


class Gdb:
    """gdb connected to a machine; a context manager. The guest is stopped until `resume`.

    vmlinux's symbols are moved by KASLR's `slide` bytes, and read before the guest is stopped. At the end
    every breakpoint is removed, and the guest runs on if it ran before or was resumed. While it runs under
    gdb, nothing else may stop it (GuestMemory): gdb would take that for a stop of its own. Raises
    MissingTool.
    """

    def __init__(self, machine: Machine, vmlinux: Path | None = None, slide: int = 0) -> None:
        gdb = shutil.which("gdb")
        if gdb is None:
            raise MissingTool("gdb is not installed", advice="apt-get install --no-install-recommends gdb")
        self._argv = [gdb, "-nx", "-q", "--interpreter=mi2"]
        self._machine = machine
        self._symbols = (f"symbol-file {quote(str(vmlinux))} -o {slide:#x}",) if vmlinux else ()
        self._numbers = itertools.count(1)
        self._received = b""
        self._stops: list[Record] = []
        self._running = self._at_breakpoint = False

    def __enter__(self) -> Gdb:
        self._run_on = bool(self._machine.qmp("query-status")["running"])
        self._gdb = subprocess.Popen(
            self._argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C.UTF-8", "TERM": "dumb"},
            # Ctrl-C is handled by the harness
            start_new_session=True,
        )
        try:
            for command in (*_SETTINGS, *self._symbols):
                self.ask(command)
            stub = self._machine.ends.gdb_socket
            self._machine.monitor(f"gdbserver unix:{stub},server=on,wait=off")
            self.ask(f"target remote {stub}")
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def ask(self, command: str, seconds: float | None = None) -> str:
        """Returns the output of a gdb command that does not let the guest run.

        Raises GdbFailed with gdb's message, GuestHang after `seconds`, QemuDied.
        """
        number = next(self._numbers)
        self._send(console_command(number, command))
        deadline = self._deadline(f"gdb's `{command.split()[0]}`", seconds)
        printed: list[str] = []
        while True:
            record = self._next(deadline)
            if record.kind in "~@":
                printed.append(record.text)
            elif record.kind == "^" and record.number == number:
                if record.record_class == "error":
                    message = record.field("msg")
                    if message.startswith("Remote connection closed"):
                        self._machine.watch.wait_for_end(2.0)
                    raise GdbFailed(f"gdb: {message}", evidence=command)
                return "".join(printed).strip()

    def delete_breakpoints(self) -> None:
        """Removes every breakpoint: from where the guest stands, it then runs on without a step."""
        self.ask("delete")
        self._at_breakpoint = False

    def interrupt(self) -> None:
        """Stops a guest that runs, wherever it is."""
        self._send(f"{next(self._numbers)}-exec-interrupt\n")
        self._await_stop(self._deadline("stopping the guest", None))

    def resume(self) -> None:
        """Lets the guest run; `await_stop` returns at the next breakpoint, which may be reached at once."""
        self._run_on = True
        if self._at_breakpoint:
            # -exec-continue would make this step by itself, and QEMU loses an interrupt during it
            self._execute("-exec-step-instruction")
            stop = self._await_stop(self._deadline("a step from the breakpoint", None))
            if stop.field("reason") != "end-stepping-range":
                self._stops.append(stop)
                self._running = True
                return
        self._execute("-exec-continue")

    def _execute(self, command: str) -> None:
        """Sends a command that lets the guest run; returns when gdb has accepted it."""
        number = next(self._numbers)
        self._running = True
        self._send(f"{number}{command}\n")
        deadline = self._deadline(f"gdb's `{command}`", None)
        while (record := self._next(deadline)).kind != "^" or record.number != number:
            pass
        if record.record_class == "error":
            self._running = False
            raise GdbFailed(f"gdb: {record.field('msg')}", evidence=command)

    def await_stop(self, seconds: float | None = None) -> str:
        """Returns why the guest stopped, in gdb's words: `breakpoint-hit`, `signal-received`, ...

        Raises GuestHang when it ran on for `seconds`, KernelPanic and QemuDied when one of these ended it.
        """
        stop = self._await_stop(self._deadline("running to a breakpoint", seconds))
        # QEMU's stub reports a machine that was stopped as SIGINT, one that ended as another signal
        # (gdbstub/gdbstub.c, 7.2: gdb_vm_state_change)
        if stop.field("signal-name") not in ("", "SIGINT", "SIGTRAP"):
            self._machine.watch.wait_for_end(1.0)
        return stop.field("reason")

    def _await_stop(self, deadline: Deadline) -> Record:
        while not self._stops:
            self._next(deadline)
        stop = self._stops.pop(0)
        self._running = False
        self._at_breakpoint = stop.field("reason") == "breakpoint-hit"
        return stop

    def value(self, expression: str) -> int:
        """Returns the value of an expression as an unsigned 64-bit int. Raises GdbFailed."""
        return int(self.ask(f'printf "%lu", (unsigned long)({expression})'))

    def _leave(self) -> None:
        """Removes the breakpoints from the guest, ends gdb and the stub."""
        try:
            # the caller that waited for gdb has already received the error
            with contextlib.suppress(MachineFailure):
                if self._running and self._machine.watch.qemu_is_alive():
                    self._send(f"{next(self._numbers)}-exec-interrupt\n")
                    self._await_stop(self._deadline("stopping the guest", _LEAVING_SECONDS))
                # gdb reports a stop before it removes its breakpoints; its next answer comes after that
                self.ask("delete", _LEAVING_SECONDS)
        finally:
            self._gdb.kill()
            self._gdb.communicate()
        if self._machine.watch.qemu_is_alive():
            self._machine.monitor("gdbserver none")
            if self._run_on and not self._machine.watch.has_ended:
                self._machine.qmp("cont")

    def _deadline(self, what: str, seconds: float | None) -> Deadline:
        return self._machine.deadline(what, seconds or _SECONDS, exact=seconds is not None)

    def _send(self, line: str) -> None:
        assert self._gdb.stdin is not None
        try:
            self._gdb.stdin.write(line.encode())
            self._gdb.stdin.flush()
        except BrokenPipeError as error:
            raise GdbFailed("gdb ended", evidence=line) from error

    def _next(self, deadline: Deadline) -> Record:
        """Returns gdb's next record; notes stops for `await_stop`."""
        while True:
            line, newline, rest = self._received.partition(b"\n")
            if not newline:
                self._received += self._read(deadline)
                continue
            self._received = rest
            record = parse_record(line.decode(errors="replace").rstrip("\r"))
            if record is None:
                continue
            if record.kind == "*" and record.record_class == "stopped" and self._running:
                self._stops.append(record)
            return record

    def _read(self, deadline: Deadline) -> bytes:
        """Returns bytes from gdb. Does not use Watch.wait, since a panicked guest can still be read."""
        assert self._gdb.stdout is not None
        fd, watch = self._gdb.stdout.fileno(), self._machine.watch
        poll = select.poll()
        for one in (fd, watch.pidfd):
            poll.register(one, select.POLLIN)
        remaining = deadline.remaining
        ready = {one for one, _ in poll.poll(None if remaining is None else int(remaining * 1000 + 0.999))}
        if fd in ready:
            data = os.read(fd, 65536)
            if not data:
                raise GdbFailed(f"gdb ended during {deadline.what}")
            return data
        watch.raise_if_ended()
        raise GuestHang(f"{deadline.what} took longer than {deadline.seconds:g} s")
