"""A `pristine` of one's own: prepared once, every test of this file branches from there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmod_harness import Guest
from kmod_harness.pytest_plugin.testbed import Pristine, Testbed


@pytest.fixture(scope="module")
def pristine(machine: Testbed, chardev_ko: Path) -> Iterator[Pristine]:
    with machine.guest() as guest:
        guest.load(chardev_ko)
        with guest.open("/dev/chardev0", os.O_WRONLY) as device:
            device.write(b"prepared")
        yield guest.checkpoint()


@pytest.mark.parametrize("again", range(3))
def test_each_test_finds_what_was_prepared_and_nothing_of_another(guest: Guest, again: int) -> None:
    assert guest.was_restored
    with guest.open("/dev/chardev0", os.O_RDWR) as device:
        assert device.read(64) == b"prepared"
        device.write(b" and changed")


def test_what_is_part_of_the_checkpoint_is_not_unloaded(guest: Guest) -> None:
    assert guest.modules == ()
    assert "chardev" in guest.read_text("/proc/modules")


def test_a_module_of_the_checkpoint_can_be_looked_at(guest: Guest) -> None:
    module = guest.module("chardev")
    assert module.state == "Live"
    assert module.sections[".text"] == module.address


def test_a_module_that_needs_one_of_the_checkpoint_loads(guest: Guest, chardev_stats_ko: Path) -> None:
    assert guest.load(chardev_stats_ko).state == "Live"
