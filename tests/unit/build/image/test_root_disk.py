"""A root file system on a disk: known by its superblock, refused before a boot that could not mount it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kmod_harness.build.cache import Cache
from kmod_harness.build.image.cpio import read_cpio
from kmod_harness.build.image.disk_paths import disk_paths
from kmod_harness.build.image.initrd import harness_archive
from kmod_harness.build.image.root_disk import DEVICE, TYPE, is_root_disk, require_driver
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.errors import Misuse
from needs.looking import path_of


@pytest.mark.needs("mke2fs")
@pytest.mark.parametrize("type", ["ext2", "ext3", "ext4"])
def test_a_file_system_is_known_by_its_superblock(tmp_path: Path, type: str) -> None:
    image = tmp_path / "image"
    subprocess.run([str(path_of("mke2fs")), "-q", "-t", type, str(image), "4M"], check=True)

    assert is_root_disk(image)


@pytest.mark.parametrize("content", [b"", b"070701" * 400, b"\x1f\x8b" * 700, bytes(4096)])
def test_an_archive_is_none(tmp_path: Path, content: bytes) -> None:
    image = tmp_path / "image"
    image.write_bytes(content)

    assert not is_root_disk(image)
    assert not is_root_disk(tmp_path / "nothing")


def kernel(tmp_path: Path, config: str) -> Kernel:
    (tmp_path / "config").write_text(config)
    return Kernel("minimal", "6.1.0", tmp_path / "bzImage", config=tmp_path / "config")


@pytest.mark.parametrize("config", ["CONFIG_EXT4_FS=y\n", "CONFIG_EXT4_FS=m\n"])
def test_a_kernel_with_ext4_will_do(tmp_path: Path, config: str) -> None:
    require_driver(kernel(tmp_path, config), tmp_path / "rootfs.ext4")


def test_a_kernel_without_says_which_one_has_it(tmp_path: Path) -> None:
    with pytest.raises(Misuse) as error:
        require_driver(kernel(tmp_path, "# CONFIG_EXT4_FS is not set\n"), tmp_path / "rootfs.ext4")

    assert "has no ext4" in error.value.message
    assert "--kconfig ext4" in error.value.advice


def test_a_kernel_whose_configuration_nobody_knows_may_try(tmp_path: Path) -> None:
    require_driver(Kernel("other", "6.1.0", tmp_path / "bzImage"), tmp_path / "rootfs.ext4")


def test_the_archive_tells_init_where_the_root_is(tmp_path: Path) -> None:
    (tmp_path / "agent").write_bytes(b"agent")

    files = {
        entry.path: entry for entry in read_cpio(harness_archive(tmp_path / "agent", [], (DEVICE, TYPE)))
    }

    assert files["kmod-harness/root"].data == b"/dev/vda\next4\n"
    assert "dev/console" in files
    assert "kmod-harness/root" not in {
        entry.path for entry in read_cpio(harness_archive(tmp_path / "agent", []))
    }


@pytest.mark.needs("mke2fs")
def test_a_disks_paths_are_known_without_a_boot(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/busybox").touch()
    (tree / "usr/bin/sh").symlink_to("busybox")
    os.link(tree / "usr/bin/sh", tree / "usr/bin/again", follow_symlinks=False)
    (tree / "bin").symlink_to("usr/bin")
    (tree / "a b").touch()
    image = tmp_path / "image"
    subprocess.run(
        [str(path_of("mke2fs")), "-q", "-t", "ext4", "-d", str(tree), str(image), "4M"], check=True
    )

    assert disk_paths(image, cache=Cache(tmp_path / "cache")) == {
        "/a b": "",
        "/bin": "usr/bin",
        "/lost+found": "",
        "/usr": "",
        "/usr/bin": "",
        "/usr/bin/again": "busybox",
        "/usr/bin/busybox": "",
        "/usr/bin/sh": "busybox",
    }


@pytest.mark.needs("mke2fs")
def test_of_a_damaged_disk_nothing_is_known(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1024 + 56) + b"\x53\xef" + bytes(4096))

    assert is_root_disk(image)
    assert disk_paths(image, cache=Cache(tmp_path / "cache")) == {}
