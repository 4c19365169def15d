"""Given loaded modules, or all of a kernel's own, then modprobe and request_module find them in the guest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kmod_harness import Guest, Spec, boot, prepare
from shared.cli_process import kmod_harness, unwrapped

pytestmark = pytest.mark.needs("a kernel without modules")

NAMES = "cut -d' ' -f1 /proc/modules | tr '\\n' ' '"
#: Opens a device whose major number no driver has: the kernel asks for char-major-240-7.
ASK = "mknod /tmp/asked c 240 7; cat /tmp/asked 2>/dev/null"


def output(guest: Guest, script: str) -> str:
    return guest.run(["sh", "-c", script]).text.strip()


def test_what_was_loaded_is_found_again(guest: Guest, chardev_ko: Path, chardev_stats_ko: Path) -> None:
    with guest.load(chardev_ko, minors=3), guest.load(chardev_stats_ko):
        pass
    guest.run(["modprobe", "chardev-stats"]).check()
    assert output(guest, NAMES) == "chardev_stats chardev"
    guest.run(["modprobe", "-r", "chardev_stats"]).check()
    assert output(guest, NAMES) == ""


def test_a_run_s_command_can_use_modprobe(chardev_ko: Path) -> None:
    script = "rmmod chardev && modprobe chardev minors=2 && ls /dev/chardev1"
    done = kmod_harness("run", chardev_ko, "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, "/dev/chardev1\n"), done.stderr


def test_the_images_own_directory_is_left_alone(guest: Guest, chardev_ko: Path) -> None:
    release = guest.run(["uname", "-r"]).text.strip()
    guest.make_directories(f"/lib/modules/{release}")
    with guest.load(chardev_ko):
        assert output(guest, f"ls -A /lib/modules/{release}") == ""


def test_a_checkpoint_goes_on_with_its_directory(
    guest: Guest, chardev_ko: Path, chardev_stats_ko: Path
) -> None:
    guest.load(chardev_ko)
    with guest.checkpoint().guest() as other, other.load(chardev_stats_ko):
        assert output(other, "sort /lib/modules/*/modules.dep") == "chardev.ko:\nchardev_stats.ko: chardev.ko"


@pytest.fixture
def guest_with_all(image: Path) -> Iterator[Guest]:
    spec = Spec(kernel=str(image), ssh=False, modules="all")
    with boot(prepare(spec), cold=False) as guest:
        yield guest


def test_all_of_the_kernels_own_are_found(guest_with_all: Guest) -> None:
    guest = guest_with_all
    assert output(guest, f"{ASK}; {NAMES}") == "chardev"
    guest.run(["modprobe", "chardev_stats"]).check()
    assert output(guest, NAMES) == "chardev_stats chardev"
    guest.run(["modprobe", "virtio-net"]).check()


def test_a_users_module_is_found_beside_all(guest_with_all: Guest, chardev_stats_ko: Path) -> None:
    guest = guest_with_all
    with guest.load(chardev_stats_ko):
        pass
    guest.module("chardev").unload()
    guest.run(["modprobe", "chardev_stats"]).check()
    assert output(guest, NAMES) == "chardev_stats chardev"


def test_a_checkpoint_with_all_finds_them_where_they_were(
    guest_with_all: Guest, chardev_stats_ko: Path
) -> None:
    guest_with_all.load("chardev")
    with guest_with_all.checkpoint().guest() as guest:
        with guest.load(chardev_stats_ko):
            pass
        guest.module("chardev").unload()
        guest.run(["modprobe", "chardev_stats"]).check()
        assert output(guest, NAMES) == "chardev_stats chardev"


def test_all_of_none_is_a_clear_word() -> None:
    done = kmod_harness("run", "--modules", "all", "--", "true")
    assert done.returncode == 2
    assert "comes without modules of its own" in unwrapped(done.stderr)
