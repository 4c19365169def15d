"""Debian's prebuilt cloud kernels and their headers, unpacked in the cache: no compiling, no root."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from kmod_harness.build.cache import Cache, digest_of
from kmod_harness.build.debian_packages import APT_LISTS, candidate_version, dependencies, unpack_packages
from kmod_harness.build.debian_suites import BINARIES, suite_lists
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.build.kernel.unpacked_kernel import images_in, kernel_in_root
from kmod_harness.errors import BuildFailed

#: The smallest of Debian's kernels: drivers of virtual machines only.
METAPACKAGE = "linux-image-cloud-amd64"
NAME = "debian"
_KIND = "debian-kernel"
#: What holds the image: up to 6.x linux-image-RELEASE, which in 7.x only names linux-binary-RELEASE, -modules
#: and -base.
_IMAGE = "linux-image-"
_OF_IMAGE = ("linux-binary-", "linux-modules-", "linux-base-")
_OF_HEADERS = ("linux-headers-", "linux-kbuild-")


def downloaded_debian_kernel(cache: Cache, suite: str = "") -> Kernel | None:
    """Returns the kernel that was downloaded last, None without; downloads nothing.

    suite: such as `trixie`, "" for the running one
    """
    key, _, _ = cache.pointer(_pointer(suite)).partition(" ")
    entry = cache.find(_KIND, key) if key else None
    return kernel_in_root(entry / "tree", name=_name(suite)) if entry is not None else None


def all_downloaded_debian_kernels(cache: Cache) -> tuple[Kernel, ...]:
    """Returns all that the cache holds, the newest use first; those named nowhere have their path as name."""
    found = []
    for entry in reversed(cache.entries(_KIND)):
        if images_in(entry.path / "tree"):
            kernel = kernel_in_root(entry.path / "tree", name="")
            suite = str(entry.manifest.get("suite", ""))
            current = downloaded_debian_kernel(cache, suite)
            is_current = current is not None and current.bzimage == kernel.bzimage
            found.append(replace(kernel, name=_name(suite) if is_current else str(kernel.bzimage)))
    return tuple(found)


def download_debian_kernel(cache: Cache, suite: str = "") -> Kernel:
    """Returns the current cloud kernel of a suite; downloads it when apt's lists name a newer one.

    Raises MissingTool when apt is missing or knows no such kernel.
    """
    lists = str(APT_LISTS.stat().st_mtime_ns) if APT_LISTS.is_dir() else ""
    known = downloaded_debian_kernel(cache, suite)
    if known is not None and cache.pointer(_pointer(suite)).partition(" ")[2] == lists:
        return known
    with _lists(suite) as options:
        packages = _packages(options)
        key = digest_of(*packages, candidate_version(packages[0], options))

        def build(entry: Path) -> dict[str, object]:
            versions = unpack_packages(packages, entry / "tree", options)
            if len(images_in(entry / "tree")) != 1:
                raise BuildFailed(f"Debian's packages {' '.join(packages)} do not hold one kernel")
            kernel = kernel_in_root(entry / "tree", name=NAME)
            _relocate(entry / "tree", kernel)
            return {"packages": versions, "release": kernel.release, "suite": suite}

        path = cache.entry(_KIND, key, build)
    cache.point(_pointer(suite), f"{key} {lists}")
    return kernel_in_root(path / "tree", name=_name(suite))


def _name(suite: str) -> str:
    return f"{NAME}@{suite}" if suite else NAME


def _pointer(suite: str) -> str:
    return f"{_KIND}-{suite}" if suite else _KIND


@contextlib.contextmanager
def _lists(suite: str) -> Iterator[Sequence[str]]:
    """Gives apt's options for a suite; none for the running one, whose lists the machine has."""
    if not suite:
        yield ()
        return
    with suite_lists([suite], BINARIES) as options:
        yield options


def _packages(options: Sequence[str]) -> tuple[str, ...]:
    """Returns the packages of the image, its headers, and what these depend on."""
    images = [name for name in dependencies(METAPACKAGE, options) if name.startswith(_IMAGE)]
    if not images:
        raise BuildFailed(f"{METAPACKAGE} names no kernel")
    release = images[0].removeprefix(_IMAGE).removesuffix("-unsigned")
    parts = [name for name in dependencies(images[0], options) if name.startswith(_OF_IMAGE)]
    headers = f"linux-headers-{release}"
    below = [name for name in dependencies(headers, options) if name.startswith(_OF_HEADERS)]
    return (*(parts or [images[0]]), headers, *below)


def _relocate(tree: Path, kernel: Kernel) -> None:
    """Changes /usr/src in the headers' Makefile and in two links to where they were unpacked."""
    assert kernel.build_dir is not None
    makefile = kernel.build_dir / "Makefile"
    # KBUILD_OUTPUT is in 7.2's alone
    text = re.sub(r"(?m)^(include |KBUILD_OUTPUT=)/usr/", rf"\g<1>{tree}/usr/", makefile.read_text())
    if f"include {tree}/usr/" not in text:
        raise BuildFailed("Debian's kernel headers have an unknown form", evidence=str(makefile))
    makefile.write_text(text)
    for name in ("build", "source"):
        link = (kernel.modules_dir or tree) / name
        if link.is_symlink() and link.readlink().is_absolute():
            target = tree / link.readlink().relative_to("/")
            link.unlink()
            link.symlink_to(target)
