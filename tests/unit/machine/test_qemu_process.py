"""A QEMU that behaves badly: a real process in its place that dies, hangs, floods or lies."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kmod_harness.errors import MissingTool, Misuse, QemuDied
from kmod_harness.machine.qemu_process import QemuProcess

PREAMBLE = """
import json, os, socket, sys, time
monitor = socket.socket(fileno=int(sys.argv[1]))
heard = ""
def say(**message):
    monitor.sendall(json.dumps(message).encode() + b"\\r\\n")
def hear():
    # QEMU needs no newline behind a JSON value, and clients send none
    global heard
    while True:
        try:
            message, end = json.JSONDecoder().raw_decode(heard)
            heard = heard[end:].lstrip()
            return message
        except ValueError:
            data = monitor.recv(65536)
            if not data:
                sys.exit(0)
            heard += data.decode()
def greet():
    version = {"qemu": {"major": 11, "minor": 1, "micro": 3}, "package": ""}
    say(QMP={"version": version, "capabilities": ["oob"]})
    say(**{"return": {}}, id=hear()["id"])
def event(name, **data):
    say(event=name, data=data, timestamp={"seconds": 1, "microseconds": 2})
"""

Events = list[tuple[str, dict[str, Any]]]


class Fake:
    """A QemuProcess around a script, and what it reported."""

    def __init__(self, process: QemuProcess, events: Events, arrived: threading.Event) -> None:
        self.process = process
        self.events = events
        self.arrived = arrived


@contextmanager
def fake_qemu(tmp_path: Path, script: str) -> Iterator[Fake]:
    program = tmp_path / "qemu.py"
    program.write_text(PREAMBLE + textwrap.dedent(script))
    events: Events = []
    arrived = threading.Event()

    def note(name: str, data: dict[str, Any]) -> None:
        events.append((name, data))
        arrived.set()

    sockets = socket.socketpair()
    fd = sockets[1].fileno()
    process = QemuProcess(
        [sys.executable, str(program), str(fd)],
        qmp_sockets=sockets,
        pass_fds=[fd],
        output=tmp_path / "qemu.log",
        on_event=note,
    )
    try:
        yield Fake(process, events, arrived)
    finally:
        process.close()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def timed(call: Callable[[], object]) -> tuple[float, BaseException]:
    started = time.monotonic()
    with pytest.raises(Exception) as caught:
        call()
    return time.monotonic() - started, caught.value


def test_a_qemu_that_is_not_installed_is_named(tmp_path: Path) -> None:
    sockets = socket.socketpair()
    process = QemuProcess(
        ["/nowhere/qemu"], qmp_sockets=sockets, pass_fds=[], output=tmp_path / "log", on_event=print
    )
    try:
        with pytest.raises(MissingTool, match="/nowhere/qemu"):
            process.start()
    finally:
        process.close()


def test_one_that_refuses_its_arguments_is_quoted(tmp_path: Path) -> None:
    with fake_qemu(tmp_path, "sys.exit('qemu: -device nosuch: not a valid device model name')") as fake:
        fake.process.start()
        with pytest.raises(Misuse) as refused:
            fake.process.connect()

    assert "not a valid device model name" in refused.value.evidence
    assert "exit status 1" in refused.value.evidence
    assert "qemu.py" in refused.value.evidence


def test_one_that_is_killed_while_it_starts_has_died(tmp_path: Path) -> None:
    with fake_qemu(tmp_path, "os.kill(os.getpid(), 9)") as fake:
        fake.process.start()
        with pytest.raises(QemuDied) as died:
            fake.process.connect()

    assert "signal 9" in died.value.evidence


def test_one_that_never_greets_is_not_said_to_have_ended(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    with fake_qemu(tmp_path, "print('warming up', flush=True); time.sleep(1000)") as fake:
        fake.process.start()
        took, error = timed(lambda: fake.process.connect(0.5))
        pid = fake.process.pid

    assert isinstance(error, QemuDied)
    assert "no greeting over QMP within 0.5 s" in str(error)
    assert "warming up" in str(error)
    assert took < 4
    assert not is_running(pid)
    assert [str(warning.message) for warning in recwarn] == []
    assert caplog.text == ""


def test_one_that_speaks_no_qmp_is_typed(tmp_path: Path) -> None:
    with fake_qemu(tmp_path, "monitor.sendall(b'\\xff{]hello\\r\\n'); time.sleep(1000)") as fake:
        fake.process.start()
        with pytest.raises(QemuDied, match="no greeting"):
            fake.process.connect(5)


def test_a_flood_of_output_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    script = """
    for n in range(200):
        os.write(1, b"x" * 500_000)
    os.write(2, b"\\nthe last word\\n")
    sys.exit(1)
    """
    with fake_qemu(tmp_path, script) as fake:
        fake.process.start()
        with pytest.raises(Misuse) as refused:
            fake.process.connect()

    assert "the last word" in refused.value.evidence
    assert len(refused.value.evidence) < 20_000


def test_commands_are_answered_and_errors_are_qemus_own(tmp_path: Path) -> None:
    from kmod_harness.machine.qmp import CommandRefused

    script = """
    greet()
    asked = hear()
    event("STOP")
    say(**{"return": {"running": True}, "id": asked["id"]})
    say(error={"class": "GenericError", "desc": "no such thing"}, id=hear()["id"])
    hear()
    """
    with fake_qemu(tmp_path, script) as fake:
        fake.process.start()
        fake.process.connect()

        assert fake.process.execute("query-status") == {"running": True}
        with pytest.raises(CommandRefused, match="no such thing"):
            fake.process.execute("nonsense")


def test_commands_for_the_version_that_greets_are_sent_and_answered(tmp_path: Path) -> None:
    script = """
    time.sleep(0.2)
    greet()
    asked = hear()
    say(**{"return": {}, "id": asked["id"]})
    event("RESUME", heard=asked["arguments"]["uri"])
    hear()
    """
    with fake_qemu(tmp_path, script) as fake:
        fake.process.begin_at_greeting(lambda version: [("migrate-incoming", {"uri": f"of {version}"})])
        fake.process.start()
        fake.process.connect()
        assert fake.arrived.wait(5)

        assert fake.process.version == (11, 1)
    assert fake.events == [("RESUME", {"heard": "of (11, 1)"})]


def test_one_that_refuses_what_was_sent_first_could_not_be_set_up(tmp_path: Path) -> None:
    script = """
    greet()
    say(error={"class": "GenericError", "desc": "no such capability"}, id=hear()["id"])
    hear()
    """
    with fake_qemu(tmp_path, script) as fake:
        fake.process.begin_at_greeting(lambda version: [("migrate-set-capabilities", {})])
        fake.process.start()
        with pytest.raises(QemuDied, match="could not be set up: no such capability"):
            fake.process.connect()


def test_one_that_greets_and_dies_is_known_by_the_next_command(tmp_path: Path) -> None:
    with fake_qemu(tmp_path, "greet(); hear(); print('assertion failed', flush=True); os.abort()") as fake:
        fake.process.start()
        fake.process.connect()
        took, error = timed(lambda: fake.process.execute("query-status"))
        again_took, again = timed(lambda: fake.process.execute("query-status"))

    assert isinstance(error, QemuDied) and "query-status" in str(error)
    assert f"signal {signal.SIGABRT.value}" in error.evidence and "assertion failed" in error.evidence
    assert isinstance(again, QemuDied)
    assert took < 1 and again_took < 1


def test_a_command_that_is_never_answered_ends_with_its_time_limit(tmp_path: Path) -> None:
    with fake_qemu(tmp_path, "greet(); hear(); time.sleep(1000)") as fake:
        fake.process.start()
        fake.process.connect()
        took, error = timed(lambda: fake.process.execute("query-status", seconds=0.3))

    assert isinstance(error, QemuDied) and "did not answer query-status within 0.3 s" in str(error)
    assert took < 2


@pytest.mark.parametrize(
    ("sent", "data"),
    [
        ("event('GUEST_PANICKED', action='pause')", {"action": "pause"}),
        (
            "event('SHUTDOWN', guest=True, reason='guest-reset')",
            {"guest": True, "reason": "guest-reset"},
        ),
    ],
)
def test_events_arrive_without_being_asked_for(tmp_path: Path, sent: str, data: dict[str, Any]) -> None:
    with fake_qemu(tmp_path, f"greet(); {sent}; time.sleep(1000)") as fake:
        fake.process.start()
        fake.process.connect()
        assert fake.arrived.wait(5)

    assert fake.events == [(sent.split("'")[1], data)]


def test_closing_ends_one_that_ignores_signals(tmp_path: Path) -> None:
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); greet(); time.sleep(1000)"
    with fake_qemu(tmp_path, script) as fake:
        fake.process.start()
        fake.process.connect()
        pid = fake.process.pid
        assert is_running(pid)

    assert not is_running(pid)


def test_closing_leaves_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    with fake_qemu(tmp_path, "greet(); time.sleep(1000)") as warm_up:
        warm_up.process.start()
        warm_up.process.connect()
    threads, descriptors = threading.active_count(), set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with fake_qemu(tmp_path, "greet(); time.sleep(1000)") as fake:
            fake.process.start()
            fake.process.connect()

    assert threading.active_count() == threads
    assert set(os.listdir("/proc/self/fd")) == descriptors


def test_qemu_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = tmp_path / "parent.py"
    parent.write_text(
        textwrap.dedent(
            f"""
            import socket, sys, threading
            from pathlib import Path
            from kmod_harness.machine.qemu_process import QemuProcess
            sockets = socket.socketpair()
            def start():
                global process
                process = QemuProcess(["sleep", "1000"], qmp_sockets=sockets, pass_fds=[],
                                      output=Path({str(tmp_path / "log")!r}), on_event=print)
                process.start()
            # the thread that asks for it ends first: the one that forked does not
            thread = threading.Thread(target=start)
            thread.start()
            thread.join()
            print(process.pid, flush=True)
            sys.stdin.read()
            """
        )
    )
    with subprocess.Popen(
        [sys.executable, str(parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        pidfd = os.pidfd_open(pid)
        try:
            assert not select.select([pidfd], [], [], 0.3)[0], "it must outlive the thread that asked for it"
            running.kill()
            assert select.select([pidfd], [], [], 5)[0]
        finally:
            os.close(pidfd)
    assert not is_running(pid)


def test_what_every_run_of_a_newer_qemu_warns_of_is_no_reason_of_its_death(tmp_path: Path) -> None:
    script = """
    print("qemu: warning: Machine type 'pc-q35-7.2' is deprecated: machines more than 3 years", flush=True)
    print("qemu: -mon x: warning: '-mon' is deprecated, use '-object'", flush=True)
    print("qemu: assertion failed", flush=True)
    greet()
    """
    with fake_qemu(tmp_path, script) as fake:
        fake.process.start()
        fake.process.connect()
        error = timed(lambda: fake.process.execute("query-status"))[1]
    assert isinstance(error, QemuDied)
    assert "assertion failed" in error.evidence and "deprecated" not in error.evidence
