"""One machine seen from outside: QEMU's process, its channels' ends, its QMP, its end."""

from __future__ import annotations

import contextlib
import shutil
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import GuestHang, MissingTool
from ..spec import Spec
from .accelerator import Accelerator
from .argv import Endpoints, RamFile, qemu_argv
from .console import ConsoleLog
from .deadline import Clock, Deadline
from .migration import Migration
from .qemu_process import QemuProcess
from .rundir import run_directory
from .watch import Watch

#: What SHUTDOWN's `reason` means for the guest (QEMU qapi/run-state.json: ShutdownCause).
_ENDS = {"guest-panic": "panic", "guest-reset": "reset", "guest-shutdown": "poweroff"}


def find_qemu(name: str = "qemu-system-x86_64") -> str:
    """Returns QEMU's absolute path. Raises MissingTool."""
    path = shutil.which(name)
    if path is None:
        raise MissingTool(
            f"{name} is not installed",
            advice="`make setup`, or: apt-get install --no-install-recommends qemu-system-x86",
        )
    return path


class Machine:
    """A started QEMU; a context manager that leaves no process, socket or directory behind.

    `agent` and `shell` are the host's ends of the agent's port and of ttyS1. `started` is the monotonic
    second at which QEMU was forked.
    """

    def __init__(
        self,
        spec: Spec,
        kernel: Path,
        initrd: Path,
        accelerator: Accelerator,
        *,
        qemu: str = "",
        stopped: bool = False,
        ram: RamFile | None = None,
        incoming: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self.spec = spec
        self.accelerator = accelerator
        self.clock = clock or Clock()
        #: exact seconds in place of the harness's own limits, None for those
        self.call_limit: float | None = None
        self._closed = False
        self._owned = contextlib.ExitStack()
        self.migration = Migration(self)
        self._owned.callback(self.migration.close)
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._launch(qemu or find_qemu(), kernel, initrd, stopped, ram, incoming)
            undo.pop_all()

    def _launch(
        self,
        qemu: str,
        kernel: Path,
        initrd: Path,
        stopped: bool,
        ram: RamFile | None,
        incoming: bool,
    ) -> None:
        own = self._owned
        self.directory = own.enter_context(run_directory())
        self.agent, agent = socket.socketpair()
        self.shell, shell = socket.socketpair()
        for end in (self.agent, agent, self.shell, shell):
            own.callback(end.close)
        qmp = socket.socketpair()
        self.ends = Endpoints(qmp[1].fileno(), agent.fileno(), shell.fileno(), self.directory)
        self.argv = qemu_argv(
            qemu,
            self.spec,
            self.accelerator,
            kernel,
            initrd,
            self.ends,
            stopped=stopped,
            ram=ram,
            incoming=incoming,
        )
        self.console = ConsoleLog(self.ends.console_log)
        own.callback(self.console.close)
        self._qemu = QemuProcess(
            self.argv,
            qmp_sockets=qmp,
            pass_fds=(self.ends.qmp_fd, self.ends.agent_fd, self.ends.shell_fd),
            output=self.directory / "qemu.log",
            on_event=self._note_event,
        )
        own.callback(self._qemu.close)
        self.started = time.monotonic()
        self._qemu.start()
        agent.close()
        shell.close()
        self.watch = Watch(self._qemu.pid, self._qemu.describe_death, self.console.tail)
        own.callback(self.watch.close)
        self._qemu.connect()

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kills QEMU and removes what the machine owned; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._owned.close()

    @property
    def pid(self) -> int:
        return self._qemu.pid

    def deadline(self, what: str, seconds: float, *, exact: bool = False) -> Deadline:
        """Returns a deadline on this machine's clock.

        The harness's own limits are longer under software emulation; `exact` is
        for those a user gave. `call_limit`, where set, stands for all of the former.
        """
        if not exact:
            own = seconds * self.accelerator.deadline_factor
            seconds = own if self.call_limit is None else self.call_limit
        return Deadline(what, seconds, self.clock)

    def settle(self, seconds: float) -> None:
        """Lets the guest run on for so long. Raises what ends the machine meanwhile."""
        with contextlib.suppress(GuestHang):
            self.watch.wait([], self.deadline("settling", seconds, exact=True))

    def qmp(self, command: str, arguments: dict[str, Any] | None = None) -> Any:
        """Returns what a QMP command returns. Raises QemuDied, or qemu.qmp's ExecuteError."""
        return self._qemu.execute(command, arguments)

    def pass_fd(self, name: str, fd: int) -> None:
        """Gives QEMU a descriptor under a name, for a command that takes `fd:NAME`."""
        self._qemu.pass_fd(name, fd)

    def monitor(self, command: str) -> str:
        """Returns the output of a command of QEMU's human monitor."""
        return str(self.qmp("human-monitor-command", {"command-line": command}))

    def ssh_port(self) -> int:
        """Returns the loopback port that reaches the guest's port 22."""
        return parse_forwarded_port(self.monitor("info usernet"))

    def _note_event(self, name: str, data: dict[str, Any]) -> None:
        if name == "GUEST_PANICKED":
            self.watch.set_end("panic")
        elif name == "SHUTDOWN":
            end = _ENDS.get(data.get("reason", ""))
            if end is not None:
                self.watch.set_end(end)
        elif name == "MIGRATION":
            self.migration.note(str(data.get("status", "")))


def parse_forwarded_port(usernet: str) -> int:
    """Returns the host port of the first forward in `info usernet` (QEMU net/slirp.c, slirp's own table).

    >>> parse_forwarded_port("  TCP[HOST_FORWARD]  14  127.0.0.1 40123  10.0.2.15  22  0  0\\n")
    40123
    """
    for line in usernet.splitlines():
        words = line.split()
        if words and words[0] == "TCP[HOST_FORWARD]":
            return int(words[3])
    raise ValueError(f"no forwarded port in {usernet!r}")
