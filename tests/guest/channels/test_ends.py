"""How a guest ends: whoever waits for whatever knows at once, and by its right name."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmod_harness.errors import AgentEnded, BootFailed, GuestRebooted, KernelPanic, Misuse, QemuDied
from kmod_harness.guest.agent.protocol import Out
from kmod_harness.guest.guest import Guest
from kmod_harness.lifecycle.boot import boot
from kmod_harness.pytest_plugin.testbed import Testbed


@pytest.fixture
def mortal(machine: Testbed) -> Iterator[Guest]:
    """A guest that a test may end."""
    with boot(machine.prepared) as guest:
        yield guest


def block(guest: Guest) -> None:
    """A read that nobody answers."""
    reader = int.from_bytes(guest.syscaller.call("pipe", Out(8)).buffers[0][:4], "little")
    guest.syscaller.syscall(0, reader, Out(1), 1, timeout=60)


WAITS: dict[str, Callable[[Guest], object]] = {
    "system call": block,
    "program": lambda guest: guest.run(["sleep", "1000"], timeout=60),
    "shell": lambda guest: guest.shell.run("sleep 1000", timeout=60),
    "kernel log": lambda guest: guest.kernel_log.await_text("never", timeout=60),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_killed_qemu_is_known_at_once_to_who_waits(mortal: Guest, wait: str) -> None:
    killed = 0.0

    def kill() -> None:
        nonlocal killed
        killed = time.monotonic()
        os.kill(mortal.machine.pid, signal.SIGKILL)

    if wait == "shell":
        mortal.shell.run("true")
    timer = threading.Timer(0.3, kill)
    timer.start()
    with pytest.raises(QemuDied, match="ended on its own"):
        WAITS[wait](mortal)
    assert time.monotonic() - killed < 1
    # whatever is asked afterwards gets the same answer
    with pytest.raises(QemuDied):
        mortal.run(["true"])


def test_a_panic_is_known_at_once_to_a_read_that_blocks(mortal: Guest, faulty_ko: Path) -> None:
    with mortal.process() as writer:
        mortal.load(faulty_ko, fault="panic", when="write")
        device = writer.open("/dev/faulty", os.O_WRONLY)
        mortal.run(["sh", "-c", "(sleep 0.3; echo > /dev/faulty) &"])
        started = time.monotonic()
        with pytest.raises(KernelPanic) as panic:
            block(mortal)
        assert time.monotonic() - started < 5
        assert "Kernel panic - not syncing: faulty: a panic was asked for" in panic.value.evidence
        with pytest.raises(KernelPanic):
            device.write(b"x")
        with pytest.raises(KernelPanic):
            mortal.kernel_log.sync(mortal.syscaller)


@pytest.mark.parametrize(("word", "said"), [("poweroff", "powered off"), ("reboot", "reset")])
def test_a_guest_that_ends_itself_is_neither_dead_nor_panicked(mortal: Guest, word: str, said: str) -> None:
    # an init that is still starting reads its program from a disk, which goes first: killed, it is a panic
    mortal.shell.run("true")

    with pytest.raises(GuestRebooted, match=said):
        mortal.run([word, "-f"], timeout=30)


def test_a_guest_that_halts_does_not_hang(mortal: Guest) -> None:
    mortal.shell.run("true")

    with pytest.raises(GuestRebooted, match="halted"):
        mortal.run(["halt", "-f"], timeout=2)


def test_an_agent_that_was_killed_is_known_before_the_deadline(mortal: Guest) -> None:
    mortal.shell.run("true")
    started = time.monotonic()

    with pytest.raises(AgentEnded, match="agent in the guest ended"):
        mortal.run(["sh", "-c", "kill -9 -1; sleep 1000"], timeout=100)

    assert time.monotonic() - started < 50


def test_an_init_that_cannot_run_is_a_boot_that_failed(machine: Testbed) -> None:
    from dataclasses import replace

    prepared = replace(machine.prepared, spec=replace(machine.prepared.spec, append=("rdinit=/nothing",)))
    with pytest.raises(BootFailed, match="before it was ready") as failed, boot(prepared):
        pass
    assert "Kernel panic" in failed.value.evidence


def test_a_boot_that_takes_too_long_is_told_by_the_consoles_tail(machine: Testbed) -> None:
    started = time.monotonic()
    with (
        pytest.raises(BootFailed, match=r"not ready within 0\.8 s"),
        boot(machine.prepared, boot_timeout=0.8),
    ):
        pass
    assert time.monotonic() - started < 4


def test_an_argument_that_qemu_refuses_is_the_users_mistake(machine: Testbed) -> None:
    from dataclasses import replace

    prepared = replace(machine.prepared, spec=replace(machine.prepared.spec, devices=("nosuch-device",)))
    with pytest.raises(Misuse, match="QEMU refused") as refused, boot(prepared):
        pass
    assert "'nosuch-device' is not a valid device model name" in refused.value.evidence


def test_a_closed_machine_leaves_nothing(machine: Testbed) -> None:
    with boot(machine.prepared) as guest:
        pid, directory = guest.machine.pid, guest.machine.directory
        assert directory.exists()
    assert not directory.exists()
    assert not Path(f"/proc/{pid}").exists()


#: Where every x86-64 kernel is linked: __START_KERNEL, arch/x86/include/asm/page_types.h.
LINKED_TEXT = 0xFFFFFFFF81000000


def slide(guest: Guest) -> int:
    running = guest.run(["grep", "-m1", " T _text$", "/proc/kallsyms"]).check().text
    return int(running.split()[0], 16) - LINKED_TEXT


def test_cold_boots_have_slides_of_their_own_and_nokaslr_has_none(machine: Testbed) -> None:
    from dataclasses import replace

    slides = []
    for _ in range(3):
        with boot(machine.prepared) as guest:
            slides.append(slide(guest))
    fixed = replace(machine.prepared, spec=replace(machine.prepared.spec, append=("nokaslr",)))
    with boot(fixed) as guest:
        assert slide(guest) == 0
    assert all(0 <= value < 1 << 30 and value % (1 << 21) == 0 for value in slides)
    assert len(set(slides)) > 1
