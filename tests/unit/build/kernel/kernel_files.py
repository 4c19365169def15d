"""Files of kernels without code: an image that tells its release, a build directory, a cache entry."""

from __future__ import annotations

import struct
from pathlib import Path

from kmod_harness.build.cache import Cache


def bzimage(release: str = "6.1.0-test", *, version: int = 0x020F, pointer: int = 0x300) -> bytes:
    """A setup sector as the boot protocol describes it, and nothing behind it."""
    image = bytearray(4096)
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H6xH", image, 0x206, version, pointer)
    text = release.encode() + b" (kmod-harness@kmod-harness) #1 SMP\0"
    image[pointer + 0x200 : pointer + 0x200 + len(text)] = text
    return bytes(image)


def build_dir(path: Path, release: str, *, modules: str = "") -> Path:
    (path / "arch/x86/boot").mkdir(parents=True)
    (path / "arch/x86/boot/bzImage").write_bytes(bzimage(release))
    (path / "include/config").mkdir(parents=True)
    (path / "include/config/kernel.release").write_text(release + "\n")
    for name in ("Makefile", "System.map", ".config", "vmlinux", "Module.symvers"):
        (path / name).write_text("")
    (path / "modules.order").write_text(modules)
    return path


def put_kernel(cache: Cache, key: str, release: str) -> None:
    def build(entry: Path) -> dict[str, object]:
        build_dir(entry / "build", release)
        return {"release": release}

    cache.entry("kernel", key, build)
