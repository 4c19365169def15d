"""A shell on a byte stream: its own serial port, where no printk can land.

Framing: a command stands between two markers whose text the echo of the typed
line cannot hold, since quotes split them there. Tested against a real local
shell, one that delivers a byte at a time, and one with noise between.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pexpect
from pexpect.spawnbase import SpawnBase

from kmod_harness.errors import BootFailed, GuestHang
from kmod_harness.machine.deadline import Deadline
from kmod_harness.machine.machine import Machine

if TYPE_CHECKING:
    _Spawn = SpawnBase[bytes]
else:
    _Spawn = SpawnBase

#: A terminal's line in canonical mode (Linux 6.1 N_TTY_BUF_SIZE); longer ones lose their end.
_LINE_ROOM = 4096
SHELL_SECONDS = 30.0

#: Waits until the descriptor is readable; raises when the machine ends or the deadline passes.
Wait = Callable[[int, Deadline], object]


@dataclass(frozen=True)
class ShellResult:
    """The output of a shell command (stdout and stderr together, CR removed) and its exit status."""

    status: int
    output: str


class ChannelSpawn(_Spawn):
    """pexpect over a socket, waiting by the machine's own waiting function."""

    def __init__(self, connection: socket.socket, wait: Wait, raise_end: Callable[[], object]) -> None:
        # no search window: with one, pexpect 4.9 looks only at the end of what arrives at once, and
        # misses a marker in front of it. expect_exact looks back no further than its text is long
        super().__init__(timeout=None, maxread=65536)
        self._connection = connection
        self._wait = wait
        self._raise_end = raise_end
        self.deadline: Deadline | None = None

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> bytes:
        """Returns the bytes that have arrived, at least one. Raises pexpect.EOF, and as the wait does."""
        assert self.deadline is not None
        self._wait(self._connection.fileno(), self.deadline)
        try:
            data = self._connection.recv(size)
        except ConnectionError:
            data = b""
        if not data:
            self.flag_eof = True
            self._raise_end()
            raise pexpect.EOF("the shell's channel was closed")
        if self.logfile_read is not None:
            self.logfile_read.write(data)
        return data

    def send_bytes(self, data: bytes) -> None:
        """Sends within the deadline: a guest that is stuck takes what its buffers hold and no more."""
        assert self.deadline is not None
        self._connection.settimeout(self.deadline.remaining)
        try:
            self._connection.sendall(data)
        except (TimeoutError, BlockingIOError) as error:
            raise GuestHang(f"{self.deadline.what}: the guest's terminal took no more bytes") from error
        except ConnectionError:
            self._raise_end()
            raise

    def interrupt(self) -> None:
        """Types Ctrl-C; without effect where nobody reads it."""
        self._connection.setblocking(False)
        with contextlib.suppress(OSError):
            self._connection.send(b"\x03")


class Shell:
    """Commands to one shell; it keeps its directory and variables between them.

    `deadline` makes deadlines; `raise_end` raises why the channel was closed, when that is
    known; `transcript` is what was read last, up to 2 MiB.
    """

    def __init__(
        self,
        connection: socket.socket,
        wait: Wait,
        deadline: Callable[[str, float | None], Deadline],
        raise_end: Callable[[], object] = lambda: None,
    ) -> None:
        self._spawn = ChannelSpawn(connection, wait, raise_end)
        self._deadline = deadline
        self._prompt = _marker()
        self._was_interrupted = False
        self.transcript = bytearray()
        self._spawn.logfile_read = _Transcript(self.transcript)

    def synchronise(self, *, prompt_seen: bool = False) -> None:
        """Returns when the shell answers. Raises BootFailed when it never does.

        A shell that has just been started is typed to only after it printed
        something: what a tty gets before anybody reads it may be lost.
        """
        spawn = self._spawn
        spawn.deadline = self._deadline("the shell's prompt", None)
        marker = _marker()
        try:
            if not prompt_seen:
                spawn.expect(rb".")
            prompt = _split(self._prompt)
            spawn.send_bytes(f"stty -echo 2>/dev/null; PS1={prompt}; PS2=; echo {_split(marker)}\n".encode())
            spawn.expect_exact(marker.encode())
        except GuestHang as hang:
            raise BootFailed(
                "the guest never gave a shell prompt on ttyS1",
                evidence=f"it sent: {bytes(self.transcript[-400:])!r}\n{hang.evidence}",
                advice="the image must start a shell on ttyS1; guest.run() needs none",
            ) from hang

    def run(self, command: str, *, timeout: float | None = None) -> ShellResult:
        """Runs a command line of the shell's language. Raises GuestHang after `timeout` seconds."""
        spawn = self._spawn
        marker = _marker()
        # `command`: a syntax error in eval, a special built-in, would end the whole line (POSIX 2.8.1)
        line = f"echo {_split(marker)}; command eval {shlex.quote(command)}; echo {_split(marker)}:$?:\n"
        if max(map(len, line.encode().split(b"\n"))) >= _LINE_ROOM:
            raise ValueError("a line of more than 4,000 bytes does not fit a terminal; use guest.run()")
        spawn.deadline = self._deadline(command, timeout)
        if self._was_interrupted:
            # a shell that still deals with Ctrl-C throws away what it has read of the next line
            spawn.expect_exact(self._prompt.encode())
            self._was_interrupted = False
        spawn.send_bytes(line.encode())
        spawn.expect_exact(marker.encode() + b"\r\n")
        try:
            spawn.expect_exact(marker.encode() + b":")
            output = spawn.before or b""
            spawn.expect_exact(b":")
        except GuestHang:
            # the next command gets a shell that listens, where the terminal is its own
            spawn.interrupt()
            self._was_interrupted = True
            raise
        return ShellResult(int(spawn.before or b""), _plain(output))


class _Transcript:
    """A log file for pexpect: appends to a bytearray, keeping the last MiB."""

    def __init__(self, into: bytearray) -> None:
        self._into = into

    def write(self, data: bytes) -> None:
        self._into += data
        if len(self._into) > 2 << 20:
            del self._into[: 1 << 20]

    def flush(self) -> None:
        return


def serial_shell(machine: Machine) -> Shell:
    """Returns the shell on a machine's ttyS1, not yet synchronised."""

    def deadline(what: str, seconds: float | None) -> Deadline:
        limit = SHELL_SECONDS if seconds is None else seconds
        return machine.deadline(what, limit, exact=seconds is not None, of_a_call=True)

    return Shell(
        machine.shell,
        lambda fd, until: machine.watch.wait([fd], until),
        deadline,
        lambda: machine.watch.wait_for_end(1.0),
    )


def _marker() -> str:
    return f"kmod{secrets.token_hex(8)}"


def _split(marker: str) -> str:
    """Returns shell text that prints the marker and does not hold it."""
    return f"{marker[:4]}''{marker[4:]}"


def _plain(data: bytes) -> str:
    return data.decode(errors="replace").replace("\r\n", "\n")
