"""QMP: one JSON message a line, answers told apart by their id (QEMU docs/interop/qmp-spec.txt).

Of our own, though there is the package qemu.qmp: its asyncio and ssl take as long to import as
a guest takes to be restored. What is sent before QEMU has greeted waits in the socket.
"""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

OnEvent = Callable[[str, dict[str, Any]], None]


class CommandRefused(Exception):
    """QEMU does not do what a command asks; the text is QEMU's own."""


class PendingReply:
    """The answer to one command, or the greeting, which may still be to come."""

    def __init__(self) -> None:
        self._arrived: queue.SimpleQueue[dict[str, Any] | Exception] = queue.SimpleQueue()

    def give(self, message: dict[str, Any] | Exception) -> None:
        self._arrived.put(message)

    def wait(self, seconds: float) -> dict[str, Any]:
        """Returns the whole message. Raises TimeoutError, ConnectionError when the other end is gone."""
        try:
            message = self._arrived.get(timeout=seconds)
        except queue.Empty:
            raise TimeoutError from None
        # for whoever asks again
        self._arrived.put(message)
        if isinstance(message, Exception):
            raise message
        return message

    def result(self, seconds: float) -> Any:
        """Returns the command's result. Raises CommandRefused, and as `wait`."""
        message = self.wait(seconds)
        if "error" in message:
            raise CommandRefused(str(message["error"].get("desc", message["error"])))
        return message["return"]


class Qmp:
    """The host's end of a monitor in control mode.

    The reading thread calls `on_event(name, data)`, and `on_greeting(message)` before `greeting` is there.
    """

    def __init__(
        self,
        end: socket.socket,
        on_event: OnEvent,
        on_greeting: Callable[[dict[str, Any]], object] = lambda message: None,
    ) -> None:
        self._end = end
        self._on_event = on_event
        self._on_greeting = on_greeting
        self._sending = threading.Lock()
        self._awaited: dict[int, PendingReply] = {}
        self._last_id = 0
        self._closed: ConnectionError | None = None
        self.greeting = PendingReply()

    def begin(
        self, command: str, arguments: Mapping[str, Any] | None = None, fd: int | None = None
    ) -> PendingReply:
        """Sends a command and returns at once; `fd` goes with it, for `getfd`."""
        answer = PendingReply()
        with self._sending:
            self._last_id += 1
            message: dict[str, Any] = {"execute": command, "id": self._last_id}
            if arguments:
                message["arguments"] = arguments
            self._awaited[self._last_id] = answer
            data = json.dumps(message).encode()
            try:
                if fd is not None:
                    data = data[socket.send_fds(self._end, [data], [fd]) :]
                self._end.sendall(data)
            except OSError as error:
                answer.give(ConnectionError(str(error)))
            if self._closed is not None:
                answer.give(self._closed)
        return answer

    def read(self) -> None:
        """Takes in what QEMU says until it closes its end; for the one thread that does nothing else."""
        reason = "QEMU closed its monitor"
        with contextlib.suppress(OSError), self._end.makefile("rb") as lines:
            for line in lines:
                try:
                    message = json.loads(line)
                    self._take(message)
                except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
                    reason = f"QEMU said what is no QMP: {line[:200]!r}"
                    break
        with self._sending:
            self._closed = ConnectionError(reason)
            for answer in (self.greeting, *self._awaited.values()):
                answer.give(self._closed)

    def _take(self, message: dict[str, Any]) -> None:
        if "QMP" in message:
            self._on_greeting(message)
            self.greeting.give(message)
        elif "event" in message:
            self._on_event(str(message["event"]), dict(message.get("data", {})))
        else:
            if "return" not in message and not isinstance(message["error"], dict):
                raise ValueError("an answer that is none")
            with self._sending:
                answer = self._awaited.pop(message["id"])
            answer.give(message)
