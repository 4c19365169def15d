"""Debian's prebuilt cloud kernel and its headers, unpacked in the cache: no compiling, no root."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.cache import Cache, digest_of
from kmod_harness.build.debian_packages import APT_LISTS, candidate_version, dependencies, unpack_packages
from kmod_harness.errors import BuildFailed

#: The smallest of Debian's kernels: drivers of virtual machines only.
METAPACKAGE = "linux-image-cloud-amd64"
_KIND = "debian-kernel"
_POINTER = "debian-kernel"


@dataclass(frozen=True)
class DebianKernel:
    """Paths in the unpacked packages.

    release: release of the kernel
    bzimage: image
    build_dir: headers, for `make -C build_dir M=...`
    config: configuration
    modules_dir: the kernel's own modules
    """

    release: str
    bzimage: Path
    build_dir: Path
    config: Path
    modules_dir: Path


def downloaded_debian_kernel(cache: Cache) -> DebianKernel | None:
    """Returns the kernel that was downloaded last, None without; downloads nothing."""
    key, _, _ = cache.pointer(_POINTER).partition(" ")
    tree = cache.find(_KIND, key) if key else None
    return _in_tree(tree / "tree") if tree is not None else None


def download_debian_kernel(cache: Cache) -> DebianKernel:
    """Returns Debian's current cloud kernel; downloads it when apt's lists name another than the cached one.

    Raises MissingTool when apt is missing or knows no such kernel.
    """
    lists = str(APT_LISTS.stat().st_mtime_ns) if APT_LISTS.is_dir() else ""
    known = downloaded_debian_kernel(cache)
    if known is not None and cache.pointer(_POINTER).partition(" ")[2] == lists:
        return known
    packages = _packages()
    key = digest_of(*packages, candidate_version(packages[0]))

    def build(entry: Path) -> dict[str, object]:
        tree = entry / "tree"
        versions = unpack_packages(packages, tree)
        kernel = _in_tree(tree)
        _relocate(tree, kernel)
        return {"packages": versions, "release": kernel.release}

    path = cache.entry(_KIND, key, build)
    cache.point(_POINTER, f"{key} {lists}")
    return _in_tree(path / "tree")


def _packages() -> tuple[str, ...]:
    """Returns the packages of the image, its headers, and what the headers depend on."""
    images = [name for name in dependencies(METAPACKAGE) if name.startswith("linux-image-")]
    if not images:
        raise BuildFailed(f"{METAPACKAGE} names no kernel")
    release = images[0].removeprefix("linux-image-").removesuffix("-unsigned")
    headers = f"linux-headers-{release}"
    below = [name for name in dependencies(headers) if name.startswith(("linux-headers-", "linux-kbuild-"))]
    return (images[0], headers, *below)


def _in_tree(tree: Path) -> DebianKernel:
    images = sorted((tree / "boot").glob("vmlinuz-*"))
    if len(images) != 1:
        raise BuildFailed(f"Debian's kernel package holds {len(images)} kernels", evidence=str(tree / "boot"))
    release = images[0].name.removeprefix("vmlinuz-")
    modules = tree / "lib/modules" / release
    if not modules.is_dir():
        modules = tree / "usr/lib/modules" / release
    return DebianKernel(
        release=release,
        bzimage=images[0],
        build_dir=tree / "usr/src" / f"linux-headers-{release}",
        config=tree / "boot" / f"config-{release}",
        modules_dir=modules,
    )


def _relocate(tree: Path, kernel: DebianKernel) -> None:
    """Changes /usr/src in the headers' Makefile and in two links to where they were unpacked."""
    makefile = kernel.build_dir / "Makefile"
    text, count = re.subn(r"(?m)^include (/usr/)", rf"include {tree}\1", makefile.read_text())
    if count == 0:
        raise BuildFailed("Debian's kernel headers have an unknown form", evidence=str(makefile))
    makefile.write_text(text)
    for name in ("build", "source"):
        link = kernel.modules_dir / name
        if link.is_symlink() and link.readlink().is_absolute():
            target = tree / link.readlink().relative_to("/")
            link.unlink()
            link.symlink_to(target)
