"""The one waiting function: bytes, death, the guest's end and the deadline, whichever comes first."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from kmod_harness.errors import AgentEnded, GuestHang, GuestRebooted, KernelPanic, MachineFailure, QemuDied
from kmod_harness.machine.deadline import Deadline
from kmod_harness.machine.watch import Watch

Error = TypeVar("Error", bound=MachineFailure)
PANIC = "Kernel panic - not syncing: Attempted to kill init!"


class Console:
    """A kernel log's tail as Watch asks for it."""

    lines: tuple[str, ...] = ("last words",)

    def tail(self, lines: int) -> str:
        return "\n".join(self.lines[-lines:])


@pytest.fixture
def qemu() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.fixture
def watch(qemu: subprocess.Popen[bytes], console: Console) -> Iterator[Watch]:
    watch = Watch(qemu.pid, lambda: "QEMU ended with signal 9", console.tail)
    yield watch
    watch.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def seconds_until(kind: type[Error], wait: Callable[[], object]) -> tuple[float, Error]:
    started = time.monotonic()
    with pytest.raises(kind) as caught:
        wait()
    return time.monotonic() - started, caught.value


def later(seconds: float, act: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def test_bytes_end_the_wait(watch: Watch, pipe: tuple[int, int]) -> None:
    later(0.05, lambda: os.write(pipe[1], b"x"))

    assert watch.wait([pipe[0]], Deadline("an answer", 10)) == {pipe[0]}


def test_room_to_write_ends_the_wait(watch: Watch, pipe: tuple[int, int]) -> None:
    assert watch.wait([pipe[0]], Deadline("room", 10), writable=[pipe[1]]) == {pipe[1]}


def test_silence_until_the_deadline_is_a_hang_with_the_kernels_last_words(
    watch: Watch, pipe: tuple[int, int]
) -> None:
    took, hang = seconds_until(GuestHang, lambda: watch.wait([pipe[0]], Deadline("read", 0.2)))

    assert 0.2 <= took < 2
    assert "read took longer than 0.2 s" in str(hang)
    assert "last words" in hang.evidence
    assert hang.advice == ""


def test_what_a_user_can_prolong_is_told_with_how(watch: Watch, pipe: tuple[int, int]) -> None:
    deadline = Deadline("read", 0.01, prolonged_by="--kh-timeout")
    _, hang = seconds_until(GuestHang, lambda: watch.wait([pipe[0]], deadline))
    assert hang.advice.endswith("give it more: --kh-timeout")


def test_a_qemu_that_is_killed_is_known_at_once(
    watch: Watch, qemu: subprocess.Popen[bytes], pipe: tuple[int, int]
) -> None:
    later(0.1, qemu.kill)

    took, death = seconds_until(QemuDied, lambda: watch.wait([pipe[0]], Deadline("read", 60)))

    assert took < 1
    assert str(qemu.pid) in str(death) and "signal 9" in death.evidence


@pytest.mark.parametrize(
    ("kind", "failure"),
    [("panic", KernelPanic), ("reset", GuestRebooted), ("poweroff", GuestRebooted), ("agent", AgentEnded)],
)
def test_the_guests_end_is_known_at_once(
    watch: Watch, pipe: tuple[int, int], kind: str, failure: type[MachineFailure]
) -> None:
    later(0.1, lambda: watch.set_end(kind))

    took, _ = seconds_until(failure, lambda: watch.wait([pipe[0]], Deadline("read", 60)))

    assert took < 1


def test_what_the_guest_said_last_comes_before_its_end(
    watch: Watch, qemu: subprocess.Popen[bytes], pipe: tuple[int, int]
) -> None:
    os.write(pipe[1], b"last")
    watch.set_end("panic")
    qemu.kill()
    qemu.wait()

    assert watch.wait([pipe[0]], Deadline("read", 60)) == {pipe[0]}
    os.read(pipe[0], 4)
    seconds_until(QemuDied, lambda: watch.wait([pipe[0]], Deadline("read", 60)))


def test_the_first_end_stays(watch: Watch) -> None:
    watch.set_end("panic")
    watch.set_end("reset")

    seconds_until(KernelPanic, watch.raise_if_ended)


def test_a_reset_behind_a_panics_text_is_a_panic_however_long_its_trace(
    watch: Watch, console: Console
) -> None:
    console.lines = ("booted", *("before",) * 100, PANIC, *(f" frame {n}" for n in range(120)))
    watch.set_end("reset")

    _, panic = seconds_until(KernelPanic, watch.raise_if_ended)

    assert PANIC in panic.evidence and " frame 119" in panic.evidence
    assert "booted" not in panic.evidence


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[    2.241358] reboot: machine restart", "the guest reset by itself"),
        ("<6>[    2.226748][   T31] sysrq: Resetting", "the guest reset by itself"),
        ("[    2.226748] my: reboot: soon", "the guest's CPU was reset without a word"),
        ("[    2.226748] my: loaded", "the guest's CPU was reset without a word"),
    ],
)
def test_a_reset_that_the_kernel_did_not_announce_is_told_apart(
    watch: Watch, console: Console, line: str, message: str
) -> None:
    console.lines = ("booted", line)
    watch.set_end("reset")

    _, reset = seconds_until(GuestRebooted, watch.raise_if_ended)

    assert reset.message == message


def test_a_guest_that_halted_has_lost_its_agent_too(watch: Watch, console: Console) -> None:
    console.lines = ("booted", "[    2.242640] reboot: System halted")
    watch.set_end("agent")

    _, halted = seconds_until(GuestRebooted, watch.raise_if_ended)

    assert halted.message == "the guest halted by itself"


@pytest.mark.parametrize("after", [(), ("[    3.0] my: still here",)])
def test_a_guest_that_halted_does_not_hang(watch: Watch, console: Console, after: tuple[str, ...]) -> None:
    console.lines = ("booted", "[    2.242640] reboot: System halted", *after)

    _, failure = seconds_until(MachineFailure, lambda: watch.wait([], Deadline("read", 0.1)))

    assert type(failure) is (GuestHang if after else GuestRebooted)


def test_a_panic_nobody_printed_still_is_one(watch: Watch) -> None:
    watch.set_end("panic")

    _, panic = seconds_until(KernelPanic, watch.raise_if_ended)

    assert "last words" in panic.evidence


def test_a_channels_end_of_file_waits_for_its_reason(watch: Watch, qemu: subprocess.Popen[bytes]) -> None:
    later(0.1, qemu.kill)

    took, _ = seconds_until(QemuDied, lambda: watch.wait_for_end(30))

    assert took < 1
    assert not watch.qemu_is_alive()


def test_a_running_machine_has_no_end(watch: Watch) -> None:
    watch.wait_for_end(0.05)
    watch.raise_if_ended()
    assert watch.qemu_is_alive()


@pytest.mark.parametrize("seconds", [1e7, float("inf"), None])
def test_a_deadline_beyond_what_poll_takes_is_awaited_too(
    watch: Watch, qemu: subprocess.Popen[bytes], pipe: tuple[int, int], seconds: float | None
) -> None:
    later(0.05, qemu.kill)

    seconds_until(QemuDied, lambda: watch.wait([pipe[0]], Deadline("for ever", seconds)))


def test_descriptors_beyond_selects_limit_are_watched_too(qemu: subprocess.Popen[bytes]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1100:
        pytest.fail(f"this machine allows {hard} open files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1100), hard))
    low = [os.open("/dev/null", os.O_RDONLY) for _ in range(1030)]
    try:
        watch = Watch(qemu.pid, str, Console().tail)
        assert watch.pidfd > 1024
        assert watch.qemu_is_alive()
        watch.wait_for_end(0.01)
        watch.close()
    finally:
        for fd in low:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_event_after_the_close_is_written_to_nobodys_file(qemu: subprocess.Popen[bytes]) -> None:
    watch = Watch(qemu.pid, str, Console().tail)
    watch.close()
    reader, writer = os.pipe()
    copies = [os.dup(writer) for _ in range(4)]
    try:
        watch.set_end("reset")
        os.set_blocking(reader, False)
        with pytest.raises(BlockingIOError):
            os.read(reader, 8)
    finally:
        for fd in (reader, writer, *copies):
            os.close(fd)
