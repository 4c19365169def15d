"""A file system with a journal on a disk: what a restored guest has in memory and on its disk agree."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kmod_harness import Guest, Prepared, Spec, prepare
from kmod_harness.build.kernel.own_modules import module_files
from kmod_harness.kmod.elf.module import read_module
from kmod_harness.lifecycle.checkpoint import save_checkpoint
from kmod_harness.lifecycle.standby import GuestSource
from needs.looking import path_of


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disk") / "root.ext4"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run([str(path_of("mke2fs")), "-q", "-t", "ext4", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def prepared(disk: Path) -> Prepared:
    """Debian's kernel, which has ext4 as modules."""
    return prepare(Spec(kernel="debian", disks=(str(disk),)))


def load_ext4(prepared: Prepared, guest: Guest) -> None:
    assert prepared.kernel.modules_dir is not None
    files = module_files(prepared.kernel.modules_dir)

    def load(name: str) -> None:
        if f"\n{name} " in "\n" + guest.read_text("/proc/modules") or name not in files:
            return
        for dependency in read_module(files[name]).depends:
            load(dependency.replace("-", "_"))
        guest.load(files[name])

    # ext4 asks for this one by request_module, which nobody here answers
    load("crc32c_generic")
    load("ext4")


@pytest.mark.needs("mke2fs")
def test_a_mounted_file_system_branches_with_its_guest(
    prepared: Prepared, disk: Path, tmp_path: Path
) -> None:
    before = disk.read_bytes()
    with GuestSource(prepared, standby=False) as source, source.guest() as guest:
        load_ext4(prepared, guest)
        guest.run(["mkdir", "/mnt/disk"]).check()
        guest.run(["mount", "-t", "ext4", "/dev/vda", "/mnt/disk"]).check()
        guest.write_file("/mnt/disk/synced", b"x" * 5_000_000)
        guest.run(["sync"]).check()
        guest.write_file("/mnt/disk/dirty", b"y" * 5_000_000)  # most of it in memory alone
        saved = save_checkpoint(prepared, guest, tmp_path)
        guest.run(["rm", "/mnt/disk/synced", "/mnt/disk/dirty"]).check()
    with GuestSource(prepared, checkpoint=saved, standby=False) as branches:
        for number in range(2):
            with branches.guest() as branch:
                assert not branch.exists("/mnt/disk/left")
                branch.write_file("/mnt/disk/left", str(number).encode())
                branch.run(["umount", "/mnt/disk"]).check()
                branch.run(["mount", "-t", "ext4", "/dev/vda", "/mnt/disk"]).check()
                assert branch.read_file("/mnt/disk/synced") == b"x" * 5_000_000
                assert branch.read_file("/mnt/disk/dirty") == b"y" * 5_000_000
                assert branch.read_file("/mnt/disk/left") == str(number).encode()
                text = "\n".join(record.text for record in branch.kernel_log.records)
                assert "EXT4-fs error" not in text
    assert disk.read_bytes() == before
