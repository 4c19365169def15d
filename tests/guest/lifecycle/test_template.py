"""A restored guest is pristine, no twin, in its own time; a template that is not sound is never used."""

from __future__ import annotations

import os
import signal
import struct
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness import Guest, Prepared, Spec, boot, prepare
from kmod_harness.build.cache import default_cache
from kmod_harness.build.image.cpio import regular, write_cpio
from kmod_harness.build.image.embedded import embedded_rootfs
from kmod_harness.errors import BootFailed, GuestHang
from kmod_harness.guest.agent.protocol import Out
from kmod_harness.lifecycle.boot_template import template_of
from kmod_harness.lifecycle.checkpoint import save_checkpoint
from kmod_harness.lifecycle.standby import GuestSource


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


def clock(guest: Guest, number: int) -> float:
    """The guest's clock of that number (clock_gettime(2)), in seconds."""
    told = guest.syscaller.call("clock_gettime", number, Out(16)).buffers[0]
    seconds, nanoseconds = struct.unpack("<qq", told)
    return float(seconds + nanoseconds / 1e9)


def uptime(guest: Guest) -> float:
    return clock(guest, time.CLOCK_BOOTTIME)


def wall_clock_error(guest: Guest) -> float:
    """Seconds by which the guest's wall clock is ahead of the host's, at most."""
    before = time.time()
    told = clock(guest, time.CLOCK_REALTIME)
    return max((told - before, told - time.time()), key=abs)


def test_a_restored_guest_lives_in_the_host_s_time_and_its_own_uptime(prepared: Prepared) -> None:
    with GuestSource(prepared, standby=False) as source:
        with source.guest() as first:
            start = uptime(first)
        for _ in range(5):
            with source.guest() as guest:
                assert abs(uptime(guest) - start) < 0.5
                assert abs(wall_clock_error(guest)) < 0.5
                guest.kernel_log.sync(guest.syscaller)
                later = guest.kernel_log.records[guest.kernel_log.restore_mark :]
                assert not [record.text for record in later if "clocksource" in record.text]


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


#: Seconds: far more than a guest needs to be handed out, on a busy machine too.
_ON_STANDBY = 3.0


def test_a_guest_on_standby_is_as_pristine_and_as_current(prepared: Prepared) -> None:
    with GuestSource(prepared, standby=True) as source:
        with source.guest() as guest:
            start = uptime(guest)
            time.sleep(_ON_STANDBY)  # no wait: the time that a test takes while the next guest waits
        with source.guest() as guest:
            assert abs(uptime(guest) - start) < _ON_STANDBY / 2
            assert abs(wall_clock_error(guest)) < 0.5


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


def test_a_checkpoint_waits_for_what_a_deadline_cut_off_on_its_way_to_the_guest(
    prepared: Prepared, tmp_path: Path
) -> None:
    with GuestSource(prepared, standby=False) as source, source.guest() as guest:
        guest.machine.qmp("stop")
        guest.machine.call_limit = 0.2
        caller = guest.syscaller
        with pytest.raises(GuestHang):
            caller.call("getpid", bytes(1_000_000))  # more than what lies between us takes
        assert not guest._channel.is_between_frames()
        assert caller.is_busy, "the rest reaches it with the next request"
        guest.machine.call_limit = None
        guest.machine.qmp("cont")
        checkpoint = save_checkpoint(prepared, guest, tmp_path)
        assert guest.run(["echo", "goes on"]).text == "goes on\n"
    with GuestSource(prepared, checkpoint=checkpoint, standby=False) as branches, branches.guest() as branch:
        assert branch.run(["echo", "branches"]).text == "branches\n"


def test_answers_on_their_way_to_the_host_are_not_read_in_the_branch(
    prepared: Prepared, tmp_path: Path
) -> None:
    with GuestSource(prepared, standby=False) as source, source.guest() as guest:
        readers = [guest.process().open("/dev/zero") for _ in range(3)]
        blocked = guest.process().open("/dev/kmsg")
        blocked.lseek(0, os.SEEK_END)
        pending = [*(reader.read_async(500_000) for reader in readers), blocked.read_async(100)]
        checkpoint = save_checkpoint(prepared, guest, tmp_path)
        assert [answer.result() for answer in pending[:3]] == [bytes(500_000)] * 3
    with GuestSource(prepared, checkpoint=checkpoint, standby=False) as branches, branches.guest() as branch:
        # what was asked before the guest was saved is answered now, and is nobody's
        branch.write_file("/dev/kmsg", b"<6>for the reader that waited\n")
        assert branch.run(["echo", "branches"]).text == "branches\n"


def test_a_limit_of_the_user_s_own_holds_for_a_restore_and_costs_no_template(prepared: Prepared) -> None:
    before = template_of(prepared).directory.stat().st_ino
    with (
        pytest.raises(BootFailed, match=r"was not ready within 0\.001 s"),
        GuestSource(prepared, standby=False, boot_timeout=0.001) as source,
        source.guest(),
    ):
        pass
    assert template_of(prepared).directory.stat().st_ino == before


def test_a_root_file_system_changed_at_its_path_is_another_machine(
    machine_spec: Spec, tmp_path: Path
) -> None:
    image = tmp_path / "image.cpio.gz"
    keys = []
    for text in (b"one", b"two"):
        image.write_bytes(embedded_rootfs().read_bytes() + write_cpio([regular("etc/mark", text)]))
        keys.append(prepare(replace(machine_spec, rootfs=str(image))).initrd)
    assert keys[0] != keys[1]


def test_a_machine_whose_device_qemu_may_not_save_is_booted(machine_spec: Spec) -> None:
    with boot(prepare(replace(machine_spec, devices=("edu",))), cold=False) as guest:
        assert not guest.was_restored
        devices = guest.syscaller.list_directory("/sys/bus/pci/devices")
        assert "0x11e8\n" in [guest.read_text(f"/sys/bus/pci/devices/{name}/device") for name in devices]


def test_a_ram_file_cut_in_half_is_discarded(prepared: Prepared, empty_cache: Path) -> None:
    ram = template_of(prepared).ram
    os.truncate(ram, ram.stat().st_size // 2)
    assert not works(prepared), "the damaged template was used"
    assert not default_cache().entries("template"), "the next guest has a new one"
