"""The user's disk images: their size, digest and backing file, and empty layers over them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from kmod_harness.build.cache import Cache, digest_of, file_digest
from kmod_harness.errors import MissingTool, Misuse

_KIND = "disk"
_BLANK = "blank.qcow2"
#: Seconds after which another change surely gives a file another time; a file system's clock ticks in ms.
_SETTLED_SECONDS = 2.0
_SECTOR = 512


@dataclass(frozen=True)
class _Image:
    """One file of an image.

    size: bytes that a guest sees
    digest: digest of the file's content
    backing: path of its backing file, "" without one
    backing_format: format of the backing file
    """

    size: int
    digest: str
    backing: str
    backing_format: str


def blank_disk(file: Path, format: str, cache: Cache) -> Path:
    """Returns an empty qcow2 file of an image's size, made once for each size.

    Raises Misuse for a file that is no such image, MissingTool without qemu-img.
    """
    size = _image(file, format, cache).size

    def build(entry: Path) -> dict[str, object]:
        _qemu_img("create", "-q", "-f", "qcow2", str(entry / _BLANK), str(size))
        return {"size": size}

    return cache.entry(_KIND, digest_of("blank", str(size)), build) / _BLANK


def image_digest(file: Path, format: str, cache: Cache) -> str:
    """Returns a digest of the content of an image and of its backing files. Raises Misuse."""
    parts = [format]
    below = str(file)
    while below:
        image = _image(Path(below), format, cache)
        parts.append(image.digest)
        below, format = image.backing, image.backing_format
    return digest_of(*parts)


def _image(file: Path, format: str, cache: Cache) -> _Image:
    """Returns the size, digest and backing file of an image, from the cache while the file is unchanged.

    The cache's name for it holds the file's ctime, which changes with every write and cannot be set
    (inode(7)). A file changed within the last 2 s is not kept: another write could leave the same ctime.
    """
    try:
        status = file.stat()
    except OSError as error:
        raise Misuse(f"there is no disk {file}", evidence=str(error)) from None
    times = status.st_mtime_ns, status.st_ctime_ns
    identity = (str(file), format, *map(str, (status.st_dev, status.st_ino, status.st_size, *times)))
    known = f"disk-{digest_of(*identity)}"
    if text := cache.pointer(known):
        return _Image(**json.loads(text))
    image = _read(file, format)
    if time.time() - max(times) / 1e9 > _SETTLED_SECONDS:
        cache.note(known, json.dumps(asdict(image)))
    return image


def _read(file: Path, format: str) -> _Image:
    if format == "raw":
        # QEMU gives the guest whole sectors
        size = -(-file.stat().st_size // _SECTOR) * _SECTOR
        if size == 0:
            raise Misuse(f"the disk {file} is empty", advice=f"truncate -s 64M {file} makes it a disk")
        return _Image(size, file_digest(file), "", "")
    # --force-share takes no lock, which a running QEMU may hold
    options = ["--force-share", "--output=json", *(["-f", format] if format else [])]
    told = json.loads(_qemu_img("info", *options, str(file)))
    if told.get("format-specific", {}).get("data", {}).get("data-file"):
        raise Misuse(f"the disk {file} keeps its data in another file, which a saved guest cannot rely on")
    backing = told.get("full-backing-filename", "")
    if backing and not os.path.isfile(backing):
        raise Misuse(f"the disk {file} is based on {backing}, which is not a file on this machine")
    return _Image(
        int(told["virtual-size"]), file_digest(file), backing, told.get("backing-filename-format", "")
    )


def _qemu_img(*arguments: str) -> str:
    tool = shutil.which("qemu-img")
    if tool is None:
        raise MissingTool(
            "qemu-img is not installed",
            advice="disks need it: apt-get install --no-install-recommends qemu-utils",
        )
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Misuse(
            f"qemu-img {arguments[0]} failed",
            evidence=done.stderr,
            advice="a disk is FILE[,format=raw|qcow2][,ro]",
        )
    return done.stdout
