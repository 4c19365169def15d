"""The initramfs a guest gets: the user's, unpacked, with the harness's behind it."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.build.cache import Cache
from kmod_harness.build.image.cpio import read_cpio, regular, symlink, write_cpio
from kmod_harness.build.image.initrd import (
    combine,
    harness_archive,
    rootfs_paths,
    unpacked_rootfs,
)
from kmod_harness.errors import Misuse

USER = write_cpio(
    [regular("init", b"#!/bin/sh\n", 0o755), symlink("bin/sh", "busybox"), regular("x", bytes(9000))]
)
HARNESS = write_cpio([regular("kmod-harness/agent", b"agent", 0o755)])


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def combined(tmp_path: Path, cache: Cache, content: bytes) -> bytes:
    (tmp_path / "rootfs").write_bytes(content)
    combine(tmp_path / "rootfs", HARNESS, tmp_path / "initrd", cache=cache)
    return (tmp_path / "initrd").read_bytes()


@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, lzma.compress, bz2.compress, lambda data: lzma.compress(data, lzma.FORMAT_ALONE)],
    ids=["plain", "gzip", "xz", "bzip2", "lzma"],
)
def test_a_root_file_system_is_stored_unpacked(
    tmp_path: Path, cache: Cache, compress: Callable[[bytes], bytes]
) -> None:
    assert combined(tmp_path, cache, compress(USER)) == USER + HARNESS


def test_it_is_unpacked_once_per_content(tmp_path: Path, cache: Cache) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(gzip.compress(USER, mtime=0))
    assert unpacked_rootfs(tmp_path / "one", cache=cache) == unpacked_rootfs(tmp_path / "two", cache=cache)
    assert len(cache.entries("initramfs")) == 1


def test_several_compressed_archives_in_a_row_are_unpacked(tmp_path: Path, cache: Cache) -> None:
    second = write_cpio([regular("second", b"2")])
    content = gzip.compress(USER) + bytes(64) + gzip.compress(second)
    paths = [entry.path for entry in read_cpio(combined(tmp_path, cache, content))]
    assert paths[-3:] == ["second", "kmod-harness", "kmod-harness/agent"]


def test_a_plain_archive_behind_a_compressed_one_is_kept(tmp_path: Path, cache: Cache) -> None:
    second = write_cpio([regular("second", b"2" * 3_000_000)])
    assert combined(tmp_path, cache, gzip.compress(USER) + second) == USER + second + HARNESS


def test_a_compression_only_the_kernel_knows_is_passed_on_aligned(tmp_path: Path, cache: Cache) -> None:
    zstd = b"\x28\xb5\x2f\xfdxyz"
    assert combined(tmp_path, cache, zstd) == zstd + b"\0" + HARNESS
    assert rootfs_paths(tmp_path / "rootfs", cache=cache) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\x7fELF" + bytes(100), "is not a root file system"),
        (gzip.compress(b"no archive in here"), "no cpio archive"),
        (gzip.compress(USER)[:-30], "truncated"),
        (gzip.compress(USER)[:60] + b"damage" + gzip.compress(USER)[66:], "damaged"),
    ],
    ids=["empty", "elf", "not-cpio", "truncated", "damaged"],
)
def test_what_is_no_root_file_system_is_refused(
    tmp_path: Path, cache: Cache, content: bytes, words: str
) -> None:
    with pytest.raises(Misuse, match=words) as failure:
        combined(tmp_path, cache, content)
    assert str(tmp_path / "rootfs") in failure.value.message
    assert cache.entries() == ()


@given(st.binary(min_size=1, max_size=200))
def test_any_damage_is_a_typed_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    directory = tmp_path_factory.mktemp("damage")
    with suppress(Misuse):
        combined(directory, Cache(directory / "cache"), b"\x1f\x8b\x08" + data)


def test_a_missing_one_is_named_with_what_was_expected(tmp_path: Path, cache: Cache) -> None:
    with pytest.raises(Misuse, match=r"nosuch.*expected a cpio archive"):
        combine(tmp_path / "nosuch", HARNESS, tmp_path / "initrd", cache=cache)


def test_its_paths_are_known_before_the_boot(tmp_path: Path, cache: Cache) -> None:
    (tmp_path / "rootfs").write_bytes(gzip.compress(USER))
    paths = rootfs_paths(tmp_path / "rootfs", cache=cache)
    assert paths == {"/init": "", "/bin": "", "/bin/sh": "busybox", "/x": ""}


def test_the_harness_archive_holds_init_agent_and_modules_in_order(tmp_path: Path) -> None:
    agent = tmp_path / "agent"
    agent.write_bytes(b"\x7fELF agent")
    modules = [tmp_path / "virtio_ring.ko", tmp_path / "virtio.ko"]
    for module in modules:
        module.write_bytes(module.name.encode())
    entries = {entry.path: entry for entry in read_cpio(harness_archive(agent, modules))}
    assert entries["kmod-harness/init"].data == entries["kmod-harness/agent"].data == b"\x7fELF agent"
    assert entries["kmod-harness/init"].mode & 0o111 == 0o111
    assert entries["kmod-harness/modules/order"].data == b"virtio_ring.ko\nvirtio.ko\n"
    assert entries["kmod-harness/modules/virtio.ko"].data == b"virtio.ko"
