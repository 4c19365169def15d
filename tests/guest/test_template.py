"""A restored guest is pristine, no twin, in its own time; a template that is not sound is never used."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from kmod_harness import Guest, Prepared, Spec, prepare
from kmod_harness.boot_template import template_of
from kmod_harness.checkpoint import save_checkpoint
from kmod_harness.standby import GuestSource


@pytest.fixture(scope="module")
def prepared(machine_spec: Spec) -> Prepared:
    return prepare(machine_spec)


@pytest.fixture
def empty_cache(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without templates; what was prepared before lies in the user's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def works(prepared: Prepared) -> bool:
    """True when a guest is had and was restored; False when it had to be booted."""
    with GuestSource(prepared, standby=False) as source, source.guest() as guest:
        assert guest.run(["echo", "works"]).text == "works\n"
        return guest.was_restored


def uptime(guest: Guest) -> float:
    return float(guest.read_text("/proc/uptime").split()[0])


def test_a_restored_guest_lives_in_the_host_s_time_and_its_own_uptime(prepared: Prepared) -> None:
    with GuestSource(prepared, standby=False) as source:
        with source.guest() as first:
            start = uptime(first)
        for _ in range(5):
            with source.guest() as guest:
                assert abs(uptime(guest) - start) < 0.5
                guest_now = int(guest.run(["date", "+%s"]).text)
                assert abs(guest_now - time.time()) <= 1.5  # date tells whole seconds
                guest.kernel_log.sync(guest.syscaller)
                boot_lines = len(template_of(prepared).earlier.log.splitlines())
                later = [record.text for record in guest.kernel_log.records[boot_lines:]]
                assert not [text for text in later if "clocksource" in text]


def test_three_clones_at_once_draw_different_random_bytes(prepared: Prepared) -> None:
    with (
        GuestSource(prepared, standby=False) as source,
        source.guest() as one,
        source.guest() as two,
        source.guest() as three,
    ):
        drawn = {guest.open("/dev/urandom").read(32) for guest in (one, two, three)}
    assert len(drawn) == 3


def test_what_one_guest_did_no_other_sees(prepared: Prepared) -> None:
    with GuestSource(prepared, standby=False) as source:
        with source.guest() as guest:
            guest.write_file("/tmp/left-behind", b"x")
        with source.guest() as guest:
            assert not guest.exists("/tmp/left-behind")


def test_all_three_channels_are_in_step_after_a_restore(prepared: Prepared) -> None:
    for _ in range(2):
        with GuestSource(prepared) as source, source.guest() as guest:
            assert guest.run(["echo", "agent"]).text == "agent\n"
            assert guest.shell.run("echo shell; false").output == "shell\n"
            assert guest.ssh.run(["echo", "ssh"]).text == "ssh\n"


def test_the_boot_s_log_is_the_beginning_of_a_restored_guest_s(prepared: Prepared) -> None:
    with GuestSource(prepared, standby=False) as source, source.guest() as guest:
        assert guest.kernel_log.records[0].text.startswith("Linux version")


def test_a_guest_on_standby_is_as_pristine_and_as_current(prepared: Prepared) -> None:
    with GuestSource(prepared, standby=True) as source:
        with source.guest() as guest:
            start = uptime(guest)
            time.sleep(1.0)  # not a wait for anything: the time a test takes while the next guest waits
        with source.guest() as guest:
            assert abs(uptime(guest) - start) < 0.5
            assert abs(int(guest.run(["date", "+%s"]).text) - time.time()) <= 1.5


def test_a_guest_that_ends_while_it_waits_is_replaced(prepared: Prepared) -> None:
    with GuestSource(prepared, standby=True) as source:
        with source.guest():
            assert source._next is not None
            waiting = source._next.result().machine
            os.kill(waiting.pid, signal.SIGKILL)
        with source.guest() as guest:
            assert guest.run(["echo", "works"]).text == "works\n"
        assert not waiting.directory.exists()


def test_a_checkpoint_keeps_module_and_data_for_every_branch(
    prepared: Prepared, chardev_ko: Path, tmp_path: Path
) -> None:
    with GuestSource(prepared, standby=False) as source, source.guest() as guest:
        guest.load(chardev_ko)
        with guest.open("/dev/chardev0", os.O_WRONLY) as device:
            device.write(b"prepared")
        checkpoint = save_checkpoint(prepared, guest, tmp_path)
        assert guest.run(["echo", "goes on"]).text == "goes on\n"
    with GuestSource(prepared, checkpoint=checkpoint, standby=False) as branches:
        for _ in range(2):
            with branches.guest() as branch, branch.open("/dev/chardev0", os.O_RDWR) as device:
                assert device.read(64) == b"prepared"
                device.write(b" and changed")


def test_a_ram_file_cut_in_half_is_discarded(prepared: Prepared, empty_cache: Path) -> None:
    ram = template_of(prepared).ram
    os.truncate(ram, ram.stat().st_size // 2)
    assert not works(prepared), "the damaged template was used"
    assert works(prepared), "the next guest has a new template"
