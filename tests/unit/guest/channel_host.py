"""A machine and its agent as far as a channel needs them: a real process as QEMU, a test as the agent."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

from kmod_harness.guest.agent.channel import AgentChannel
from kmod_harness.guest.agent.protocol import Frame, FrameReader, Kind
from kmod_harness.guest.process import Process
from kmod_harness.machine.deadline import Deadline
from kmod_harness.machine.machine import Machine
from kmod_harness.machine.watch import Watch


class Agent:
    """The other end of the port: says what a test tells it to."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.end.settimeout(10)
        self._reader = FrameReader()
        self._heard: list[Frame] = []

    def hear(self) -> Frame:
        while not self._heard:
            self._heard += self._reader.feed(self.end.recv(1 << 16))
        return self._heard.pop(0)

    def say(self, kind: Kind, to: Frame | None = None, payload: bytes = b"", worker: int = 0) -> None:
        asked = to or Frame(kind, 0)
        self.end.sendall(Frame(kind, asked.tag, payload, worker or asked.worker, asked.epoch).encode())

    def start(self, number: int, pid: int) -> None:
        self.say(Kind.START, self.hear(), struct.pack("<II", number, pid))

    def answer(self, value: int) -> None:
        self.say(Kind.CALLS, self.hear(), struct.pack("<q", value))


class Host:
    """A machine as far as a channel needs one."""

    def __init__(self) -> None:
        self.qemu = subprocess.Popen(["sleep", "1000"])
        mine, theirs = socket.socketpair()
        self.agent = Agent(theirs)
        self.watch = Watch(self.qemu.pid, lambda: "it was killed", lambda lines: "last words")
        console = SimpleNamespace(tail=lambda lines: "last words")
        parts = SimpleNamespace(agent=mine, watch=self.watch, deadline=self.deadline, console=console)
        self.machine = cast(Machine, parts)
        self.channel = AgentChannel(self.machine)
        self._mine = mine

    def deadline(
        self, what: str, seconds: float, *, exact: bool = False, of_a_call: bool = False
    ) -> Deadline:
        return Deadline(what, seconds)

    def process(self, number: int = 1, pid: int = 100) -> Process:
        with during(lambda: self.agent.start(number, pid)):
            return Process(self.machine, self.channel)

    def close(self) -> None:
        self.qemu.kill()
        self.qemu.wait()
        self.watch.close()
        self._mine.close()
        self.agent.end.close()


class during:
    """Runs the agent's part in a thread, and its failure is the test's."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._act()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error
