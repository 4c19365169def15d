"""One QEMU process with its QMP connection, both owned by one thread."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kmod_harness.errors import Misuse, QemuDied
from kmod_harness.machine.fork import fork_qemu
from kmod_harness.machine.qmp import CommandRefused, PendingReply, Qmp

_DEPRECATED = re.compile(r"warning: .* (?:is|are) deprecated\b")
#: A QEMU's version, such as (7, 2).
Version = tuple[int, int]
Command = tuple[str, dict[str, Any]]


class QemuProcess:
    """Starts QEMU, speaks QMP with it, kills it in `close`.

    QEMU is forked by the thread that reads its monitor and lives as long as QEMU: its
    parent-death signal follows the thread that forked it. `process` is one that was forked already.
    `on_event(name, data)` is called in that thread.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        qmp_sockets: tuple[socket.socket, socket.socket],
        pass_fds: Sequence[int],
        output: Path,
        on_event: Callable[[str, dict[str, Any]], None],
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self.argv = tuple(argv)
        self.output = output
        self._ours, self._theirs = qmp_sockets
        self._pass_fds = tuple(pass_fds)
        self._qmp = Qmp(self._ours, on_event, self._greeted)
        self._at_greeting: Callable[[Version], Sequence[Command]] = lambda version: ()
        # sent before QEMU is there: it finds them when it comes to read
        self._first = [self._qmp.begin("qmp_capabilities")]
        self._process = process
        self._forked: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._live, name="qemu", daemon=True)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Forks QEMU unless that was done; returns when it runs, before it answers. Raises MissingTool."""
        self._thread.start()
        error = self._forked.get()
        if error is not None:
            raise error

    def begin_at_greeting(self, commands: Callable[[Version], Sequence[Command]]) -> None:
        """Has commands sent as soon as QEMU greets, by its version; `connect` asks their answers.

        To be called before `start`.
        """
        self._at_greeting = commands

    @property
    def version(self) -> Version:
        """QEMU's version, once it has greeted (`connect`)."""
        return _version_in(self._qmp.greeting.wait(0))

    def _greeted(self, greeting: dict[str, Any]) -> None:
        self._first += [
            self._qmp.begin(command, arguments)
            for command, arguments in self._at_greeting(_version_in(greeting))
        ]

    def connect(self, seconds: float = 30.0) -> None:
        """Returns when QEMU has greeted over QMP and done what `begin` sent: its sockets exist from here on.

        Raises Misuse when QEMU refuses its arguments, QemuDied when it ends or stays silent.
        """
        try:
            self._qmp.greeting.wait(seconds)
            for answer in self._first:
                answer.result(seconds)
        except (OSError, CommandRefused) as error:
            raise self._failed_start(error, seconds) from error

    def _failed_start(self, error: Exception, seconds: float) -> Misuse | QemuDied:
        assert self._process is not None
        command = shlex.join(self.argv)
        if isinstance(error, CommandRefused):
            return QemuDied(f"QEMU could not be set up: {error}", evidence=command)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        if self._process.returncode is None:
            return QemuDied(
                f"QEMU gave no greeting over QMP within {seconds:g} s: {error or 'silence'}",
                evidence=f"{self.describe_death()}\n{command}",
            )
        if self._process.returncode > 0:
            return Misuse(
                "QEMU refused its command line",
                evidence=f"{self.describe_death()}\n{command}",
                advice="the message is QEMU's; --device, --qemu-arg and --firmware reach it unchanged",
            )
        return QemuDied(
            "QEMU ended while it started", evidence=f"{self.describe_death() or error}\n{command}"
        )

    def execute(self, command: str, arguments: dict[str, Any] | None = None, seconds: float = 30.0) -> Any:
        """Returns the result of a QMP command. Raises QemuDied when QEMU is gone, CommandRefused."""
        return self._result(self._qmp.begin(command, arguments), command, seconds)

    def send(
        self, command: str, arguments: dict[str, Any] | None = None, fd: int | None = None
    ) -> PendingReply:
        """Sends a command, and a descriptor with it, and returns at once."""
        return self._qmp.begin(command, arguments, fd)

    def pass_fd(self, name: str, fd: int) -> None:
        """Gives QEMU a descriptor under a name, for a command that takes `fd:NAME`."""
        self._result(self._qmp.begin("getfd", {"fdname": name}, fd), "getfd", 30.0)

    def _result(self, answer: PendingReply, command: str, seconds: float) -> Any:
        try:
            return answer.result(seconds)
        except TimeoutError as error:
            raise QemuDied(f"QEMU did not answer {command} within {seconds:g} s") from error
        except ConnectionError as error:
            raise QemuDied(f"QEMU went away during {command}", evidence=self.describe_death()) from error

    def describe_death(self) -> str:
        """Returns QEMU's exit status and the last lines it wrote, "" while it runs and is silent."""
        said = _tail(self.output) if self.output.exists() else []
        # QEMU 11 warns of what its successors will not take: true of every run, and the reason of no death
        lines = [line for line in said if not _DEPRECATED.search(line)][-12:]
        with contextlib.suppress(subprocess.TimeoutExpired, AttributeError):
            assert self._process is not None
            status = self._process.wait(0.2)
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            lines.insert(0, f"QEMU ended with {how}")
        return "\n".join(lines)

    def close(self) -> None:
        """Kills QEMU and reaps it; never raises for a process that is gone already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._closing.set()
        # wakes the thread where a process that QEMU left behind holds the other end
        with contextlib.suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
        if self._thread.ident is not None:
            self._thread.join()
        for end in (self._ours, self._theirs):
            end.close()

    def _live(self) -> None:
        """The thread: forks QEMU, reads its monitor to the end, and stays, as QEMU may."""
        try:
            if self._process is None:
                self._process = fork_qemu(self.argv, self._pass_fds, self.output)
        except Exception as error:
            self._forked.put(error)
            return
        self._theirs.close()
        self._forked.put(None)
        self._qmp.read()
        self._closing.wait()


def _version_in(greeting: dict[str, Any]) -> Version:
    """Returns the version in QMP's greeting (qmp-spec, "Server Greeting"); (0, 0) where it is none."""
    numbers = greeting.get("QMP", {}).get("version", {}).get("qemu", {})
    return int(numbers.get("major", 0)), int(numbers.get("minor", 0))


def _tail(path: Path, size: int = 8192) -> list[str]:
    """Returns the last lines of a file, of at most `size` bytes: a QEMU may have flooded it."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return file.read().decode(errors="replace").splitlines()
