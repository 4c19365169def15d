"""One QEMU process with its QMP connection, both owned by one event-loop thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import MissingTool, Misuse, QemuDied
from .watch import parent_death_signal

if TYPE_CHECKING:
    from qemu.qmp import QMPClient


class QemuProcess:
    """Starts QEMU, speaks QMP with it, kills it in `close`.

    QEMU is forked by the event-loop thread, which lives as long as QEMU: its
    parent-death signal follows the thread that forked it.
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
    ) -> None:
        self.argv = tuple(argv)
        self.output = output
        self._ours, self._theirs = qmp_sockets
        self._pass_fds = tuple(pass_fds)
        self._on_event = on_event
        self._loop = asyncio.new_event_loop()
        self._client: QMPClient | None = None
        self._events: asyncio.Task[None] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="qemu", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Forks QEMU; returns when it runs, before it answers. Raises MissingTool without a QEMU."""
        self._in_loop(self._spawn()).result()

    def connect(self, seconds: float = 30.0) -> None:
        """Returns when QEMU has greeted over QMP: its sockets exist from here on.

        Raises Misuse when QEMU refuses its arguments, QemuDied when it ends or stays silent.
        """
        greeting = self._in_loop(self._greet())
        try:
            greeting.result(seconds)
        except Exception as error:
            assert self._process is not None
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            command = shlex.join(self.argv)
            if self._process.returncode is None:
                raise QemuDied(
                    f"QEMU gave no greeting over QMP within {seconds:g} s: {error or 'silence'}",
                    evidence=f"{self.describe_death()}\n{command}",
                ) from error
            if self._process.returncode > 0:
                raise Misuse(
                    "QEMU refused its command line",
                    evidence=f"{self.describe_death()}\n{command}",
                    advice="the message is QEMU's; --device, --qemu-arg and --firmware reach it unchanged",
                ) from error
            raise QemuDied(
                "QEMU ended while it started", evidence=f"{self.describe_death() or error}\n{command}"
            ) from error
        finally:
            greeting.cancel()

    def execute(self, command: str, arguments: dict[str, Any] | None = None, seconds: float = 30.0) -> Any:
        """Returns what a QMP command returns. Raises QemuDied when QEMU is gone, QMP's ExecuteError as is."""
        from qemu.qmp import ExecuteError

        client = self._client
        if client is None:
            raise QemuDied("QEMU is not connected", evidence=self.describe_death())
        call: Future[Any] = self._in_loop(client.execute(command, arguments))
        try:
            return call.result(seconds)
        except ExecuteError:
            raise
        except TimeoutError as error:
            raise QemuDied(f"QEMU did not answer {command} within {seconds:g} s") from error
        except Exception as error:
            raise QemuDied(f"QEMU went away during {command}", evidence=self.describe_death()) from error
        finally:
            call.cancel()

    def pass_fd(self, name: str, fd: int) -> None:
        """Gives QEMU a descriptor under a name, for a command that takes `fd:NAME`."""
        self._in_loop(self._send_fd(name, fd)).result(30)

    def describe_death(self) -> str:
        """Returns QEMU's exit status and the last lines it wrote, "" while it runs and is silent."""
        lines = _tail(self.output)[-12:] if self.output.exists() else []
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
        self._in_loop(self._disconnect()).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for end in (self._ours, self._theirs):
            end.close()

    def _in_loop(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _spawn(self) -> None:
        with open(self.output, "wb") as output:
            try:
                self._process = subprocess.Popen(
                    self.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=self._pass_fds,
                    # Ctrl-C is ours to answer: a terminal's signal must not reach QEMU
                    start_new_session=True,
                    preexec_fn=parent_death_signal(os.getpid()),
                )
            except FileNotFoundError as error:
                raise MissingTool(
                    f"{self.argv[0]} is not installed",
                    advice="`make setup`, or: apt-get install --no-install-recommends qemu-system-x86",
                ) from error
        self._theirs.close()

    async def _greet(self) -> None:
        from qemu.qmp import QMPClient

        client = QMPClient("kmod-harness")
        # a screenful of tracebacks for every killed QEMU helps nobody
        client.logger.setLevel("CRITICAL")
        await client.connect(self._ours)
        self._client = client
        self._events = asyncio.create_task(self._read_events(client))

    async def _read_events(self, client: QMPClient) -> None:
        async for event in client.events:
            self._on_event(str(event["event"]), cast("dict[str, Any]", event.get("data", {})))

    async def _send_fd(self, name: str, fd: int) -> None:
        assert self._client is not None
        self._client.send_fd_scm(fd)
        await self._client.execute("getfd", {"fdname": name})

    async def _disconnect(self) -> None:
        if self._events is not None:
            self._events.cancel()
        if self._client is not None:
            with contextlib.suppress(Exception):
                await self._client.disconnect()
        # a greeting or command that was given up ends before its loop does
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        if rest:
            await asyncio.wait(rest, timeout=5)


def _tail(path: Path, size: int = 8192) -> list[str]:
    """Returns the last lines of a file, of at most `size` bytes: a QEMU may have flooded it."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return file.read().decode(errors="replace").splitlines()
