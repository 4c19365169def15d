"""The initramfs archive: read back by ourselves and by GNU cpio, equal bytes for equal input."""

from __future__ import annotations

import os
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.build.image.cpio import (
    CpioEntry,
    CpioError,
    character_device,
    directory,
    read_cpio,
    regular,
    symlink,
    write_cpio,
)

names = st.text("abcXYZ019._- ", min_size=1, max_size=12).filter(lambda name: name not in (".", ".."))
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
entries = st.one_of(
    st.builds(regular, paths, st.binary(max_size=300), st.sampled_from([0o644, 0o755, 0o4755])),
    st.builds(symlink, paths, paths),
    st.builds(directory, paths, st.sampled_from([0o755, 0o700, 0o1777])),
    st.builds(character_device, paths, st.integers(0, 511), st.integers(0, 255)),
)


def writable(some: list[CpioEntry]) -> list[CpioEntry]:
    """Leaves out what cannot be together in a file system: two of one path, a file as a parent."""
    kept: dict[str, CpioEntry] = {}
    for entry in some:
        parents = {entry.path.rsplit("/", count)[0] for count in range(1, entry.path.count("/") + 1)}
        blocked = any(parent in kept and not stat.S_ISDIR(kept[parent].mode) for parent in parents)
        covers = any(path.startswith(entry.path + "/") for path in kept)
        if entry.path not in kept and not blocked and (stat.S_ISDIR(entry.mode) or not covers):
            kept[entry.path] = entry
    return list(kept.values())


@given(st.lists(entries, max_size=12).map(writable))
def test_what_is_written_is_read(some: list[CpioEntry]) -> None:
    read = {entry.path: entry for entry in read_cpio(write_cpio(some))}
    assert all(read[entry.path] == entry for entry in some)
    added = [read[path] for path in read.keys() - {entry.path for entry in some}]
    assert all(stat.S_ISDIR(entry.mode) for entry in added)


@given(st.lists(entries, max_size=8).map(writable), st.randoms())
def test_the_order_of_the_entries_does_not_matter(some: list[CpioEntry], random: object) -> None:
    shuffled = list(some)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert write_cpio(shuffled) == write_cpio(some)


@given(st.lists(entries, max_size=8).map(writable))
def test_parents_come_before_their_children(some: list[CpioEntry]) -> None:
    seen: set[str] = set()
    for entry in read_cpio(write_cpio(some)):
        assert "/" not in entry.path or entry.path.rsplit("/", 1)[0] in seen
        seen.add(entry.path)


@given(st.binary(max_size=400))
def test_bytes_that_are_no_archive_are_refused_or_read_but_never_crash(data: bytes) -> None:
    with suppress(CpioError):
        list(read_cpio(data))


@given(st.integers(1, 600))
def test_a_truncated_archive_is_refused(cut: int) -> None:
    archive = write_cpio([regular("file", b"x" * 500)])
    end = archive.index(b"TRAILER!!!") - 110
    with pytest.raises(CpioError):
        list(read_cpio(archive[: max(1, end - cut)]))


def test_two_archives_in_a_row_are_read_as_one() -> None:
    both = write_cpio([regular("a", b"1")]) + write_cpio([regular("b", b"2")])
    assert [entry.path for entry in read_cpio(both)] == ["a", "b"]


@pytest.mark.parametrize("path", ["", "/etc", "a//b", "../up", "a/./b", "a\0b", "TRAILER!!!", "x" * 4096])
def test_a_path_that_cannot_be_in_an_archive_is_refused(path: str) -> None:
    with pytest.raises(CpioError):
        write_cpio([regular(path, b"")])


def test_two_entries_of_one_path_are_refused() -> None:
    with pytest.raises(CpioError, match="two entries"):
        write_cpio([regular("a", b"1"), regular("a", b"2")])


def test_a_file_in_a_file_is_refused() -> None:
    with pytest.raises(CpioError, match="no directory"):
        write_cpio([regular("a", b""), regular("a/b", b"")])


@pytest.mark.needs("cpio")
def test_gnu_cpio_unpacks_the_same_tree(tmp_path: Path) -> None:
    archive = write_cpio(
        [
            regular("usr/bin/tool", b"#!/bin/sh\n", 0o755),
            regular("empty", b""),
            symlink("link", "usr/bin/tool"),
            directory("private", 0o700),
        ]
    )
    subprocess.run(["cpio", "-idm", "--quiet"], input=archive, cwd=tmp_path, check=True)
    tool = tmp_path / "usr/bin/tool"
    assert tool.read_bytes() == b"#!/bin/sh\n"
    assert stat.S_IMODE(tool.stat().st_mode) == 0o755
    assert tool.stat().st_mtime == 0
    assert (tmp_path / "empty").read_bytes() == b""
    assert os.readlink(tmp_path / "link") == "usr/bin/tool"
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o700


@pytest.mark.needs("cpio")
def test_gnu_cpio_lists_device_nodes_and_owners() -> None:
    archive = write_cpio([character_device("dev/console", 5, 1)])
    listing = subprocess.run(
        ["cpio", "-tvn", "--quiet"], input=archive, capture_output=True, check=True
    ).stdout
    fields = listing.decode().splitlines()[-1].split()
    assert fields[0] == "crw-------"
    assert fields[2:6] == ["0", "0", "5,", "1"]
