"""What must hold of restored guests for long, of many at once, and of devices that are not restored."""

from __future__ import annotations

import contextlib
import struct
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness import Guest, Prepared, Spec, boot, prepare
from kmod_harness.build.cache import default_cache
from kmod_harness.guest.agent.protocol import Out
from kmod_harness.lifecycle import checkpoint as checkpoints
from kmod_harness.lifecycle.boot_template import template_of
from kmod_harness.lifecycle.checkpoint import save_checkpoint
from kmod_harness.lifecycle.standby import GuestSource

_EDU = "/sys/bus/pci/devices/0000:00:04.0"


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(Spec(kernel="minimal"))


def clock(guest: Guest, number: int) -> float:
    """The guest's clock of that number (clock_gettime(2)), in seconds."""
    told = guest.syscaller.call("clock_gettime", number, Out(16)).buffers[0]
    seconds, nanoseconds = struct.unpack("<qq", told)
    return float(seconds + nanoseconds / 1e9)


def private_mib(guest: Guest) -> float:
    """What this QEMU has of its own (smaps_rollup, proc(5))."""
    lines = Path(f"/proc/{guest.machine.pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


@pytest.mark.parametrize("standby", [False, True])
def test_after_fifty_restores_the_clocks_are_as_after_the_first(prepared: Prepared, standby: bool) -> None:
    uptimes, errors = [], []
    with GuestSource(prepared, standby=standby) as source:
        for _ in range(50):
            with source.guest() as guest:
                uptimes.append(clock(guest, time.CLOCK_BOOTTIME))
                before = time.time()
                errors.append(clock(guest, time.CLOCK_REALTIME) - before)
                guest.kernel_log.sync(guest.syscaller)
                later = guest.kernel_log.records[guest.kernel_log.restore_mark :]
                assert not [record.text for record in later if "clocksource" in record.text]
    worst = max(map(abs, errors))
    print(f"uptime {min(uptimes):.3f} to {max(uptimes):.3f} s, wall clock off by {worst:.3f} s at most")
    assert max(uptimes) - min(uptimes) < 0.5
    assert worst < 0.5


def test_eight_clones_at_once_are_no_twins_and_weigh_little(prepared: Prepared) -> None:
    with GuestSource(prepared, standby=False) as source, contextlib.ExitStack() as alive:
        guests = [alive.enter_context(source.guest()) for _ in range(8)]
        drawn = {guest.syscaller.call("getrandom", Out(32), 32, 0).buffers[0] for guest in guests}
        assert len(drawn) == 8
        for guest in guests:
            guest.run(["true"])
        weights = [private_mib(guest) for guest in guests]
        print("private MiB of each of eight:", [round(weight, 1) for weight in weights])
        assert max(weights) < prepared.spec.memory_mib / 4


def test_virtio_devices_are_restored(prepared: Prepared) -> None:
    spec = replace(prepared.spec, devices=("virtio-rng-pci", "virtio-balloon-pci"))
    with boot(prepare(spec), cold=False) as guest:
        assert guest.was_restored
        assert guest.read_text("/sys/class/misc/hw_random/rng_current").startswith("virtio_rng")
        with guest.open("/dev/hwrng") as hwrng:
            assert len(set(hwrng.read(32))) > 8


def test_edu_would_come_back_reset(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why what is not virtio's is booted with: QEMU 7.2 saves nothing of edu, and does not say so."""
    machine = prepare(replace(prepared.spec, devices=("edu",)))
    monkeypatch.setattr(checkpoints, "obstacle", lambda spec: "")
    with boot(machine) as guest:
        assert guest.read_text(f"{_EDU}/device") == "0x11e8\n"
        before = address_of_bar_0(guest)
        assert before != 0
        saved = save_checkpoint(machine, guest, tmp_path)
        assert address_of_bar_0(guest) == before, "the guest that was saved goes on with it"
    with GuestSource(machine, checkpoint=saved, standby=False) as branches, branches.guest() as branch:
        assert address_of_bar_0(branch) == 0


def address_of_bar_0(guest: Guest) -> int:
    """What edu's own base address register says, asked of the device (PCI 3.0, 6.2.5.1)."""
    return int.from_bytes(guest.read_file(f"{_EDU}/config")[16:20], "little") & ~0xF


def test_guests_in_use_outlive_their_template(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    template_of(prepared)
    with GuestSource(prepared, standby=True) as source, source.guest() as guest:
        assert source._next is not None
        source._next.result()
        assert default_cache().prune(0, idle_seconds=0.0)
        assert guest.run(["echo", "works"]).text == "works\n"
        with source.guest() as waited:
            assert waited.run(["echo", "works"]).text == "works\n"
        with source.guest() as made_anew:
            assert made_anew.was_restored


def test_a_guest_that_waits_with_a_disk_s_old_content_is_not_given(
    prepared: Prepared, tmp_path: Path
) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(b"old".ljust(1 << 20, b"\0"))
    machine = prepare(replace(prepared.spec, disks=(str(disk),)))
    with GuestSource(machine, standby=True) as source:
        with source.guest() as guest:
            assert guest.open("/dev/vda").read(3) == b"old"
            assert source._next is not None
            waiting = source._next.result().machine
        disk.write_bytes(b"new".ljust(1 << 20, b"\0"))
        with source.guest() as guest:
            assert guest.open("/dev/vda").read(3) == b"new"
        assert not waiting.directory.exists()
