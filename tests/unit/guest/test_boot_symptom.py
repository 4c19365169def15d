"""Why a guest never became ready: what its kernel log tells, and what to do about it."""

from __future__ import annotations

import pytest

from kmod_harness.guest.boot_symptom import NO_PORT, boot_advice, panic_advice
from kmod_harness.host.resources import agent_sources

BOOTED = "[    0.90] Run /kmod-harness/init as init process\n"


@pytest.mark.parametrize(
    ("log", "named"),
    [
        ("", "SERIAL_8250_CONSOLE"),
        ("[    0.00] Linux version 6.1\n[    0.10] smpboot: x\n", "--boot-timeout"),
        (BOOTED, "--boot-timeout"),
        (f"{BOOTED}[    4.10] kmod-harness: {NO_PORT}: -2\n", "CONFIG_VIRTIO_CONSOLE"),
        ("[    0.90] Run /bin/sh as init process\n", "/bin/sh"),
        (f"{BOOTED}[    0.91] Failed to execute /kmod-harness/init (error -8)\n", "BINFMT_ELF"),
        ("[    0.90] VFS: Unable to mount root fs on unknown-block(0,0)\n", "BLK_DEV_INITRD"),
    ],
)
def test_what_the_kernel_lacks_is_named(log: str, named: str) -> None:
    assert named in boot_advice(log)


def test_a_panic_without_a_known_symptom_is_left_to_the_configuration() -> None:
    assert "minimal.config" in panic_advice("[    0.10] Kernel panic - not syncing: x\n")
    assert "BLK_DEV_INITRD" in panic_advice("Kernel panic - not syncing: VFS: Unable to mount root fs on x\n")


def test_the_agent_says_these_words() -> None:
    assert f'"{NO_PORT}"' in (agent_sources()[0].parent / "port.c").read_text()
