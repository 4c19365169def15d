"""Damaged input of every kind: an error of ours with its reason, or an answer; no traceback and no hang.

`KH_FUZZ=100000` tries more; a failure names its seed, which damages the same bytes in the same way.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmod_harness.cli.main import main
from kmod_harness.errors import KmodHarnessError
from kmod_harness.guest.agent.protocol import (
    Call,
    Frame,
    FrameReader,
    Kind,
    Out,
    OutUpToResult,
    decode_results,
)
from kmod_harness.klog.ktap import ktap_results
from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import find_splats
from kmod_harness.kmod.elf.module import parse_module
from kmod_harness.machine.qmp import CommandRefused, Qmp
from shared.checkout import ROOT
from soak.fuzz.mutation import mutated

TRIES = int(os.environ.get("KH_FUZZ", "2000"))
#: Seconds that one damaged input may take.
PATIENCE = 10.0
LOGS = sorted((ROOT / "tests/unit/klog/cases").rglob("*.txt"))
CALLS = [Call(0, (3, Out(16), 16)), Call(0, (3, OutUpToResult(64), 64)), Call(39, ())]
RESULTS = (
    struct.pack("<qI", 16, 16)
    + b"sixteen bytes...."[:16]
    + struct.pack("<qI", 4, 4)
    + b"four"
    + struct.pack("<q", 77)
)
QMP = (
    b'{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": []}}\n'
    b'{"return": {}, "id": 1}\n'
    b'{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}\n'
    b'{"error": {"class": "GenericError", "desc": "no such command"}, "id": 2}\n'
    b'{"return": "text", "id": 3}\n'
)


def try_all(data: Callable[[int], bytes], use: Callable[[bytes], object], tries: int = TRIES) -> int:
    """Uses `tries` damaged copies; returns how many were refused, each with an error of ours."""
    refused = 0
    for seed in range(tries):
        started = time.monotonic()
        try:
            use(mutated(data(seed), seed))
        except KmodHarnessError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
        assert time.monotonic() - started < PATIENCE, f"seed {seed}"
    return refused


@pytest.mark.timeout(3600)
def test_a_damaged_module_is_refused_or_read(chardev_ko: Path) -> None:
    whole = chardev_ko.read_bytes()

    refused = try_all(lambda seed: whole, lambda data: parse_module(data, chardev_ko))

    assert 0 < refused < TRIES


@pytest.mark.timeout(3600)
def test_a_damaged_kernel_log_is_read() -> None:
    logs = [path.read_bytes() for path in LOGS]

    def read(data: bytes) -> None:
        records = parse_console(data)
        find_splats(records)
        ktap_results(records)

    assert try_all(lambda seed: logs[seed % len(logs)], read) == 0


@pytest.mark.timeout(3600)
def test_the_agents_damaged_answers_are_refused_or_read() -> None:
    def read(data: bytes) -> None:
        reader = FrameReader()
        for at in range(0, len(data), 7):
            reader.feed(data[at : at + 7])

    frames = b"".join(Frame(Kind.CALLS, tag, RESULTS).encode() for tag in range(3))

    assert try_all(lambda seed: RESULTS, lambda data: decode_results(data, CALLS)) > 0
    try_all(lambda seed: frames, read)


@pytest.mark.timeout(3600)
def test_qemus_damaged_answers_end_every_wait() -> None:
    def speak(end: socket.socket, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            end.sendall(data)
            end.shutdown(socket.SHUT_WR)

    def read(data: bytes) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            qmp = Qmp(ours, lambda name, fields: None)
            waiting = [qmp.begin("anything") for _ in range(3)]
            # more than a socket holds: one thread speaks, as QEMU does, and another reads
            speaker = threading.Thread(target=speak, args=(theirs, data))
            speaker.start()
            qmp.read()
            ours.shutdown(socket.SHUT_RD)
            speaker.join(PATIENCE)
            assert not speaker.is_alive()
            with contextlib.suppress(ConnectionError):
                qmp.greeting.wait(PATIENCE)
            for answer in waiting:
                with contextlib.suppress(CommandRefused, ConnectionError):
                    answer.result(PATIENCE)

    try_all(lambda seed: QMP, read)


@pytest.fixture(scope="module")
def bundle(faulty_ko: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the guest's state."""
    made = tmp_path_factory.mktemp("bundles") / "bundle"
    write = ["--param", "fault=oops", "--", "sh", "-c", "echo 1 > /dev/faulty"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(["run", "--dump", "--bundle", str(made), str(faulty_ko), *write])
    return made


@contextlib.contextmanager
def copy_of(bundle: Path, place: Path) -> Iterator[Path]:
    copy = place / "copy"
    shutil.copytree(bundle, copy, copy_function=os.link)
    yield copy
    shutil.rmtree(copy)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["verdict.json", "machine.json", "state.json", "modules/faulty.ko"])
def test_a_damaged_bundle_is_opened_or_named(bundle: Path, tmp_path: Path, name: str) -> None:
    whole = (bundle / name).read_bytes()

    def read(data: bytes) -> None:
        with copy_of(bundle, tmp_path) as copy, contextlib.redirect_stdout(io.StringIO()):
            (copy / name).unlink()
            (copy / name).write_bytes(data)
            with contextlib.redirect_stderr(io.StringIO()) as said:
                status = main(["crash", str(copy)])
        assert "bug of kmod-harness" not in said.getvalue(), said.getvalue()
        assert status in (0, 2)

    try_all(lambda seed: whole, read, TRIES // 100)


@pytest.mark.timeout(3600)
def test_a_log_gets_source_lines_from_a_damaged_module_or_none(bundle: Path, tmp_path: Path) -> None:
    whole = (bundle / "modules/faulty.ko").read_bytes()

    def read(data: bytes) -> None:
        (tmp_path / "faulty.ko").write_bytes(data)
        words = ["symbolize", str(bundle / "kernel.log"), "--module", str(tmp_path / "faulty.ko")]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            status = main(words)
        assert "bug of kmod-harness" not in said.getvalue(), said.getvalue()
        assert status in (0, 2)

    try_all(lambda seed: whole, read, TRIES // 10)
