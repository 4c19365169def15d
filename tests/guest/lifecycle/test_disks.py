"""A disk is the user's file to read and the guest's own to write: cold, restored, from a checkpoint."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness import Guest, Prepared, Spec, boot, prepare
from kmod_harness.build.image.cpio import regular, write_cpio
from kmod_harness.build.image.embedded import embedded_rootfs
from kmod_harness.errors import Misuse
from kmod_harness.lifecycle.boot_template import template_of
from kmod_harness.lifecycle.checkpoint import save_checkpoint
from kmod_harness.lifecycle.saved_guest import SavedGuestUnusable, digest_of_disks, restore
from kmod_harness.lifecycle.standby import GuestSource

MIB = 1 << 20
#: Where each of these leaves its mark on the disk; two are in one cluster of an overlay.
USER, BOOT, TEST, LATER = 0, 4096, 1 * MIB, 3 * MIB
INITTAB = """\
::sysinit:/bin/sh -c "printf 'the boot' | dd of=/dev/vda bs=4096 seek=1 conv=notrunc 2>/dev/null"
ttyS1::respawn:-/bin/sh
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disks") / "a raw,disk.img"
    path.write_bytes(b"the user".ljust(4 * MIB + 100, b"\0"))
    return path


@pytest.fixture(scope="module")
def layered(raw: Path) -> Path:
    """A qcow2 image that is based on another file."""
    raw.with_name("base.img").write_bytes(b"the base".ljust(MIB, b"\0"))
    path = raw.with_name("layered.qcow2")
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.img", "-F", "raw", str(path)], check=True
    )
    return path


@pytest.fixture(scope="module")
def prepared(machine_spec: Spec, raw: Path, layered: Path) -> Prepared:
    """A machine with two disks, on the first of which its own boot writes."""
    rootfs = raw.with_name("writes-at-boot.cpio.gz")
    more = write_cpio([regular("etc/inittab", INITTAB.encode())])
    rootfs.write_bytes(embedded_rootfs().read_bytes() + more)
    disks = (str(raw), f"{layered},ro")
    return prepare(replace(machine_spec, rootfs=str(rootfs), disks=disks, ssh=False))


@pytest.fixture(scope="module")
def restored(prepared: Prepared, raw: Path, layered: Path) -> Iterator[GuestSource]:
    """Guests of the machine; at the end the user's files are what they were, whatever the guests did."""
    files = (raw, layered, layered.with_name("base.img"))
    before = [file.read_bytes() for file in files]
    with GuestSource(prepared, standby=False) as source:
        yield source
    assert [file.read_bytes() for file in files] == before


def read(guest: Guest, at: int, device: str = "/dev/vda") -> bytes:
    # the last close of a block device empties its page cache (block/bdev.c, blkdev_flush_mapping, 6.1):
    # what is read comes from the disk
    with guest.open(device) as disk:
        disk.lseek(at)
        return disk.read(8)


def write(guest: Guest, at: int, data: bytes) -> None:
    with guest.open("/dev/vda", os.O_RDWR) as disk:
        disk.lseek(at)
        assert disk.write(data) == len(data)


def test_a_cold_guest_writes_to_a_layer_of_its_own(prepared: Prepared, raw: Path) -> None:
    with boot(prepared) as guest:
        guest.shell.synchronise()
        assert (read(guest, USER), read(guest, BOOT)) == (b"the user", b"the boot")
        write(guest, USER, b"the test")
        assert read(guest, USER) == b"the test"
    assert raw.read_bytes().startswith(b"the user")


def test_each_restored_guest_has_the_disk_as_the_boot_left_it(restored: GuestSource) -> None:
    for _ in range(2):
        with restored.guest() as guest:
            assert guest.was_restored
            assert [read(guest, at) for at in (USER, BOOT, TEST)] == [b"the user", b"the boot", bytes(8)]
            write(guest, TEST, b"the test")
            assert read(guest, TEST) == b"the test"


def test_two_guests_at_once_write_to_the_same_place(restored: GuestSource) -> None:
    with restored.guest() as one, restored.guest() as two:
        write(one, USER, b"guest  1")
        write(two, USER, b"guest  2")
        assert (read(one, USER), read(two, USER)) == (b"guest  1", b"guest  2")


def test_a_disk_that_is_only_to_be_read_is_so_for_the_guest(restored: GuestSource) -> None:
    with restored.guest() as guest:
        assert read(guest, USER, "/dev/vdb") == b"the base"
        assert guest.read_text("/sys/block/vdb/ro") == "1\n"
        assert guest.read_text("/sys/block/vda/ro") == "0\n"


def test_a_checkpoint_keeps_what_was_written_and_what_was_about_to_be(
    prepared: Prepared, restored: GuestSource, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with restored.guest() as guest, guest.open("/dev/vda", os.O_RDWR) as held:
        write(guest, TEST, b"the test")
        held.lseek(LATER)
        held.write(b"unsynced")  # in the page cache alone, since the device is open
        first = save_checkpoint(prepared, guest, tmp_path / "first")
        write(guest, TEST, b"goes on ")
    with GuestSource(prepared, checkpoint=first, standby=False) as branches:
        with branches.guest() as branch:
            branch.run(["sync"])
            assert [read(branch, at) for at in (BOOT, TEST, LATER)] == [b"the boot", b"the test", b"unsynced"]
            write(branch, USER, b"a branch")
            second = save_checkpoint(prepared, branch, tmp_path / "second")
        with branches.guest() as other:
            assert read(other, USER) == b"the user"
    with GuestSource(prepared, checkpoint=second, standby=False) as twigs, twigs.guest() as twig:
        assert [read(twig, at) for at in (USER, TEST, LATER)] == [b"a branch", b"the test", b"unsynced"]


def test_a_file_of_other_content_is_another_machine(prepared: Prepared, raw: Path, tmp_path: Path) -> None:
    template = template_of(prepared)
    status, content = raw.stat(), raw.read_bytes()
    try:
        raw.write_bytes(content.replace(b"the user", b"the USER"))
        os.utime(raw, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(SavedGuestUnusable, match="the file of a disk was changed"):
            restore(prepared, template)
        assert digest_of_disks(prepared.disks) != template.disk_digest, "it has a template of its own"
    finally:
        raw.write_bytes(content)
    assert template_of(prepared).directory == template.directory, "the content counts, not the time"


@pytest.mark.parametrize("text", ["nowhere.img", "/", "{empty}", "{raw},format=qcow2"])
def test_a_disk_that_is_none_is_a_mistake_with_its_name(
    machine_spec: Spec, raw: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "empty").write_bytes(b"")
    disk = text.format(empty=tmp_path / "empty", raw=raw)
    with pytest.raises(Misuse) as error:
        prepare(replace(machine_spec, disks=(disk,)))
    assert disk.partition(",")[0] in str(error.value)
