"""The fixture `guest`: sound and clean in every test, whatever the last one left."""

from __future__ import annotations

import os
from pathlib import Path

from kmod_harness import Guest


def test_a_test_may_leave_a_module_and_an_open_file_behind(guest: Guest, chardev_ko: Path) -> None:
    guest.load(chardev_ko)
    assert guest.open("/dev/chardev0", os.O_RDWR).write(b"left") == 4


def test_the_next_test_finds_neither(guest: Guest) -> None:
    assert "chardev" not in guest.read_text("/proc/modules")
    assert not guest.exists("/dev/chardev0")
