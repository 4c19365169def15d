"""Asking a hanging guest by sysrq: each answer is waited for, and a break that was lost is sent again."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kmod_harness.machine.deadline import Deadline
from kmod_harness.machine.interrogation import _ANSWER_SECONDS, _ask_kernel
from kmod_harness.machine.machine import Machine
from kmod_harness.machine.watch import Watch

ANSWERS = {
    b"l": b"[    7.9] sysrq: Show backtrace of all active CPUs\r\n[    7.9] NMI backtrace for cpu 0\r\n",
    b"w": b"[    8.2] sysrq: Show Blocked State\r\n[    8.2] faulty_block+0x43/0x70 [faulty]\r\n",
    b"h": b"[    8.4] sysrq: HELP : loglevel(0-9)\r\n",
}


class Guest:
    """A kernel on ttyS0 that loses its first breaks, as one that prints meanwhile does.

    What it says is in the log file, as QEMU writes it.
    """

    def __init__(self, directory: Path, loses: list[bytes]) -> None:
        self.loses = loses
        self.heard: list[bytes] = []
        self._log = directory / "console.log"
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(directory / "console"))
        self._listening.listen()
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        port, _ = self._listening.accept()
        with port:
            while key := port.recv(1):
                self.heard.append(key)
                if key in self.loses:
                    self.loses.remove(key)
                else:
                    with open(self._log, "ab") as log:
                        log.write(ANSWERS[key])

    def close(self) -> None:
        self._thread.join()
        self._listening.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Any]:
    qemu = subprocess.Popen(["sleep", "1000"])
    watch = Watch(qemu.pid, lambda: "it was killed", lambda lines: "last words")
    parts = SimpleNamespace(
        watch=watch,
        deadline=lambda what, seconds, exact=False: Deadline(what, seconds),
        ends=SimpleNamespace(console_socket=tmp_path / "console", console_log=tmp_path / "console.log"),
        qmp=lambda command, arguments: None,
    )
    yield cast(Machine, parts)
    qemu.kill()
    qemu.wait()
    watch.close()


@pytest.mark.parametrize("lost", [[], [b"l"], [b"w", b"w"], [b"w", b"h"]])
def test_every_answer_is_there_whichever_break_was_lost(
    machine: Any, tmp_path: Path, lost: list[bytes]
) -> None:
    guest = Guest(tmp_path, list(lost))
    answer = _ask_kernel(machine, _ANSWER_SECONDS)
    guest.close()
    assert answer.count("NMI backtrace for cpu 0") == answer.count("faulty_block+0x43/0x70") == 1
    assert answer.index("faulty_block") < answer.index("NMI backtrace"), "what is shown first is not cut off"
    assert "HELP" not in answer
    assert len(guest.heard) == 3 + len(lost)


def test_a_kernel_that_never_answers_is_asked_no_further(machine: Any, tmp_path: Path) -> None:
    guest = Guest(tmp_path, [b"w"] * 100)
    assert _ask_kernel(machine, _ANSWER_SECONDS) == ""
    guest.close()
    assert set(guest.heard) == {b"w"}
