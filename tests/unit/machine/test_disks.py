"""Disks before any guest: what a user writes, what QEMU is told, what a file's content is known by."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.build.cache import Cache
from kmod_harness.build.image import disk_image
from kmod_harness.build.image.disk_image import blank_disk, image_digest
from kmod_harness.errors import Misuse
from kmod_harness.machine.disks import DiskFile, disk_argv, make_overlays, overlay_path
from kmod_harness.spec.spec import Disk, Spec, SpecError, parse_disk

needs_qemu_img = pytest.mark.needs("qemu-img")


@given(
    st.text("ab/,.=", min_size=1).filter(lambda text: not text.endswith((",ro", ".qcow2"))),
    st.sampled_from(["", "raw", "qcow2"]),
    st.booleans(),
)
def test_a_disk_is_a_file_and_what_is_said_of_it(file: str, format: str, read_only: bool) -> None:
    text = file + (f",format={format}" if format else "") + (",ro" if read_only else "")
    assert parse_disk(text) == Disk(file, format or "raw", read_only)


def test_qcow2_is_told_by_the_name_unless_it_is_said() -> None:
    assert parse_disk("a.qcow2").format == "qcow2"
    assert parse_disk("a.qcow2,ro,format=raw") == Disk("a.qcow2", "raw", True)


@pytest.mark.parametrize("text", ["", ",ro", "a,format=vmdk"])
def test_what_is_no_disk_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="disks: a disk is FILE"):
        Spec(disks=(text,))


def test_the_chain_below_a_disk_is_named_from_the_user_s_file_on() -> None:
    disk = DiskFile(Path("/u/a,b.img"), "raw", Path("/c/blank.qcow2"), (Path("/t/disk-0.qcow2"),))
    argv = disk_argv([disk, DiskFile(Path("/u/ro.qcow2"), "qcow2", None)], Path("/run/x"))
    nodes = [
        dict(option.replace(",,", "\0").split("=") for option in word.replace(",,", "\0").split(","))
        for word in argv[1::2]
        if word.startswith("node-name=")
    ]
    assert [(node["node-name"], node["file.filename"], node.get("backing")) for node in nodes] == [
        ("disk0-0", "/u/a\0b.img", None),
        ("disk0-1", "/t/disk-0.qcow2", "disk0-0"),
        ("disk0", "/run/x/disk-0.qcow2", "disk0-1"),
        ("disk1", "/u/ro.qcow2", None),
    ]
    assert [node.get("read-only") for node in nodes] == ["on", "on", None, "on"]
    assert [word for word in argv if word.startswith("virtio-blk")] == [
        "virtio-blk-pci,drive=disk0",
        "virtio-blk-pci,drive=disk1",
    ]


@needs_qemu_img
@pytest.mark.parametrize(("size", "seen"), [(1 << 20, 1 << 20), (1000, 1024)])
def test_a_layer_is_as_large_as_the_disk(tmp_path: Path, size: int, seen: int) -> None:
    file = tmp_path / "disk.img"
    file.write_bytes(bytes(size))
    blank = blank_disk(file, "raw", Cache(tmp_path / "cache"))
    make_overlays([DiskFile(file, "raw", blank)], tmp_path)
    header = overlay_path(tmp_path, 0).read_bytes()[:32]
    # docs/interop/qcow2.txt: magic at 0, the virtual size at 24, big-endian
    assert (header[:4], int.from_bytes(header[24:32], "big")) == (b"QFI\xfb", seen)


@needs_qemu_img
def test_a_digest_stands_for_content_down_to_the_last_file(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    base, middle, top = tmp_path / "base.img", tmp_path / "middle.qcow2", tmp_path / "top.qcow2"
    base.write_bytes(b"one".ljust(1 << 20, b"\0"))
    for file, below, format in ((middle, base, "raw"), (top, middle, "qcow2")):
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", below.name, "-F", format, str(file)]
        subprocess.run(command, check=True)
    before = image_digest(top, "qcow2", cache)
    assert image_digest(top, "qcow2", cache) == before
    base.write_bytes(b"two".ljust(1 << 20, b"\0"))
    assert image_digest(top, "qcow2", cache) != before
    base.write_bytes(b"one".ljust(1 << 20, b"\0"))
    assert image_digest(top, "qcow2", cache) == before


@needs_qemu_img
def test_an_image_without_its_data_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "disk.qcow2"
    options = ["-o", f"data_file={tmp_path / 'data.raw'}"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(file), "1M"], check=True)
    with pytest.raises(Misuse, match=r"disk\.qcow2 keeps its data in another file"):
        image_digest(file, "qcow2", Cache(tmp_path / "cache"))


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path / "cache")
    file = tmp_path / "disk.img"
    file.write_bytes(b"x" * 512)
    reads: list[Path] = []

    def counted(path: Path) -> str:
        reads.append(path)
        return path.read_bytes().hex()[:8]

    monkeypatch.setattr(disk_image, "file_digest", counted)
    # just written: its times do not yet tell of the next change
    image_digest(file, "raw", cache)
    image_digest(file, "raw", cache)
    assert len(reads) == 2
    monkeypatch.setattr(disk_image, "_SETTLED_SECONDS", -1.0)
    for _ in range(3):
        image_digest(file, "raw", cache)
    assert len(reads) == 3
    status = file.stat()
    file.write_bytes(b"y" * 512)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    image_digest(file, "raw", cache)
    assert len(reads) == 4, "ctime tells of a change that hides its time"
