"""A `pristine` of one's own: prepared once, every test branches from there; checkpoints by name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmod_harness import Guest
from kmod_harness.errors import Misuse
from kmod_harness.pytest_plugin.testbed import Pristine, Testbed


@pytest.fixture(scope="module")
def saved(machine: Testbed, chardev_ko: Path) -> None:
    """Two checkpoints of one guest, which has ended when the tests begin."""
    with machine.guest() as guest:
        guest.load(chardev_ko)
        guest.checkpoint("loaded")
        with guest.open("/dev/chardev0", os.O_WRONLY) as device:
            device.write(b"prepared")
        guest.checkpoint("filled")


def content(guest: Guest) -> bytes:
    with guest.open("/dev/chardev0") as device:
        return device.read(64)


class TestFromOneThatIsKept:
    @pytest.fixture(scope="class")
    @classmethod
    def pristine(cls, machine: Testbed, chardev_ko: Path) -> Iterator[Pristine]:
        with machine.guest() as guest:
            guest.load(chardev_ko)
            with guest.open("/dev/chardev0", os.O_WRONLY) as device:
                device.write(b"prepared")
            yield guest.checkpoint()

    @pytest.mark.parametrize("again", range(3))
    def test_each_test_finds_what_was_prepared_and_nothing_of_another(self, guest: Guest, again: int) -> None:
        assert guest.was_restored
        with guest.open("/dev/chardev0", os.O_RDWR) as device:
            assert device.read(64) == b"prepared"
            device.write(b" and changed")

    def test_what_is_part_of_the_checkpoint_is_not_unloaded(self, guest: Guest) -> None:
        assert guest.modules == ()
        assert "chardev" in guest.read_text("/proc/modules")

    def test_a_module_of_the_checkpoint_can_be_looked_at(self, guest: Guest) -> None:
        module = guest.module("chardev")
        assert module.state == "Live"
        assert module.sections[".text"] == module.address

    def test_a_module_that_needs_one_of_the_checkpoint_loads(
        self, guest: Guest, chardev_stats_ko: Path
    ) -> None:
        assert guest.load(chardev_stats_ko).state == "Live"


class TestFromOneByName:
    @pytest.fixture(scope="class")
    @classmethod
    def pristine(cls, machine: Testbed, saved: None) -> Pristine:
        return machine.checkpoint("filled")

    @pytest.mark.parametrize("again", range(2))
    def test_each_test_branches_from_it(self, guest: Guest, again: int) -> None:
        assert content(guest) == b"prepared"
        with guest.open("/dev/chardev0", os.O_RDWR) as device:
            device.write(b"changed")

    def test_another_is_a_machine_beside_it(self, machine: Testbed, guest: Guest) -> None:
        with machine.checkpoint("loaded").guest() as other:
            assert (content(guest), content(other)) == (b"prepared", b"")

    def test_a_branch_has_checkpoints_of_its_own_which_outlive_it(self, machine: Testbed) -> None:
        with machine.checkpoint("filled").guest() as branch:
            branch.write_file("/root/twig", b"x")
            saved = branch.checkpoint("twig")
        assert machine.checkpoint("twig") is saved
        with saved.guest() as guest:
            assert (guest.exists("/root/twig"), content(guest)) == (True, b"prepared")


def test_a_guest_that_was_booted_is_saved_as_well(machine: Testbed) -> None:
    with machine.guest(cold=True) as guest:
        guest.write_file("/root/mark", b"x")
        with guest.checkpoint().guest() as branch:
            assert branch.was_restored
            assert branch.exists("/root/mark")


def test_an_unknown_name_is_a_mistake_that_names_the_known(machine: Testbed, saved: None) -> None:
    with pytest.raises(Misuse, match="no checkpoint 'loadde'") as error:
        machine.checkpoint("loadde")
    assert "loaded, filled" in error.value.evidence


def test_a_name_is_given_once(machine: Testbed, guest: Guest, saved: None) -> None:
    with pytest.raises(Misuse, match="there is a checkpoint 'loaded' already"):
        guest.checkpoint("loaded")
