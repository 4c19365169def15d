"""The source of a kernel: Debian's package, a tarball, or a directory, which is never written to."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.cache import Cache, digest_of, file_digest
from kmod_harness.build.debian_packages import (
    APT_LISTS,
    candidate_version,
    dependencies,
    installed_version,
    unpack_packages,
)
from kmod_harness.build.debian_suites import BINARIES, suite_lists
from kmod_harness.errors import BuildFailed, MissingTool, Misuse

#: Depends on the source of the running suite's kernel: linux-source-6.1 on Debian 12, 6.12 on Debian 13.
METAPACKAGE = "linux-source"
#: Where a release is looked for that the running suite lacks, the stable ones first.
SUITES = ("trixie", "bookworm", "sid", "bullseye")
_KIND = "source"
_POINTER = "debian-source"

#: Files that no x86 build reads; not unpacked. Kconfig and Makefile of every architecture stay, since
#: Kconfig parses some of them for any ARCH (crypto/Kconfig of 6.1), and so does Documentation/Kconfig.
_EXCLUDED = (
    "*/Documentation/*/*",
    "*/arch/[!ux]*/*.[chS]",
    "*/arch/[!ux]*/*.dts",
    "*/arch/[!ux]*/*.dtsi",
)


@dataclass(frozen=True)
class KernelSource:
    """A kernel's source tree.

    directory: top of the tree
    identity: name of its content
    entry: its cache entry, "" when not ours
    """

    directory: Path
    identity: str
    entry: str = ""


def kernel_source(source: str | Path, cache: Cache) -> KernelSource:
    """Returns the tree to build from: `source` is a directory or tarball, "" for Debian's package.

    Unpacks once. Raises Misuse when it is not a kernel's source, MissingTool when Debian's package can
    neither be found nor downloaded.
    """
    if source == "":
        return _debian_source(cache)
    path = Path(source)
    if path.is_dir():
        return _directory(path.absolute())
    if not path.is_file():
        raise Misuse(f"there is no kernel source {path}; expected a directory or a tarball of a kernel tree")
    return _unpacked(cache, path, f"{path.name} sha256 {file_digest(path)}")


def debian_source_package(cache: Cache) -> str:
    """Returns the name of the running suite's package of the kernel's source, such as `linux-source-6.12`.

    Asks apt (a second) once for each state of its lists, and keeps the last answer, which serves when the
    lists are gone. Raises MissingTool when apt is missing or its lists lack such a package, BuildFailed for
    another failure of apt.
    """
    lists = str(APT_LISTS.stat().st_mtime_ns) if APT_LISTS.is_dir() else ""
    name, _, known_lists = cache.pointer(_POINTER).partition(" ")
    if name and known_lists == lists:
        return name
    try:
        named = _named_by_metapackage()
    except MissingTool:
        if name:
            return name
        raise
    cache.note(_POINTER, f"{named} {lists}")
    return named


def debian_source(of: str, cache: Cache) -> KernelSource:
    """Returns the source that Debian has of a release, such as `6.12`, or in a suite, such as `trixie`.

    Of a release an unpacked tree serves; otherwise the suites are asked, the running one first. Raises
    MissingTool when none of them has it, BuildFailed when the mirror does not answer.
    """
    if not of[:1].isdigit():
        with suite_lists([of], BINARIES) as options:
            return _downloaded(_named_by_metapackage(options), options, cache)
    package = f"{METAPACKAGE}-{of}"
    unpacked = _unpacked_before(package, cache)
    if unpacked is not None:
        return unpacked
    with contextlib.suppress(MissingTool):
        return _downloaded(package, (), cache)
    for suite in SUITES:
        # a suite that the mirror no longer has is one without the package
        with contextlib.suppress(MissingTool, BuildFailed), suite_lists([suite], BINARIES) as options:
            candidate_version(package, options)
            return _downloaded(package, options, cache)
    raise MissingTool(
        f"Debian has no package {package}",
        evidence=f"asked: this machine's lists, {', '.join(SUITES)}",
        advice="--source takes a tree or a tarball of any kernel",
    )


def _debian_source(cache: Cache) -> KernelSource:
    package = debian_source_package(cache)
    tarball = Path(f"/usr/src/{package}.tar.xz")
    version = installed_version(package)
    if version and tarball.is_file():
        return _unpacked(cache, tarball, f"{package} {version}")
    # The package is not installed: an unpacked tree serves, else it is downloaded.
    return _unpacked_before(package, cache) or _downloaded(package, (), cache)


def _named_by_metapackage(options: Sequence[str] = ()) -> str:
    named = [name for name in dependencies(METAPACKAGE, options) if name.startswith(f"{METAPACKAGE}-")]
    if not named:
        raise BuildFailed(f"Debian's package {METAPACKAGE} names no kernel source")
    return named[0]


def _unpacked_before(package: str, cache: Cache) -> KernelSource | None:
    for entry in reversed(cache.entries(_KIND)):
        identity = str(entry.manifest.get("identity", ""))
        if identity.startswith(f"{package} "):
            return KernelSource(entry.path / "linux", identity, entry.name)
    return None


def _downloaded(package: str, options: Sequence[str], cache: Cache) -> KernelSource:
    identity = f"{package} {candidate_version(package, options)}"

    def build(entry: Path) -> dict[str, object]:
        with tempfile.TemporaryDirectory(prefix=".package-", dir=entry) as scratch:
            unpack_packages([package], Path(scratch), options)
            _unpack(Path(scratch) / f"usr/src/{package}.tar.xz", entry / "linux")
        return {"identity": identity}

    return _entry(cache, identity, build)


def _unpacked(cache: Cache, tarball: Path, identity: str) -> KernelSource:
    def build(entry: Path) -> dict[str, object]:
        _unpack(tarball, entry / "linux")
        return {"identity": identity}

    return _entry(cache, identity, build)


def _entry(cache: Cache, identity: str, build: Callable[[Path], dict[str, object]]) -> KernelSource:
    key = digest_of(identity, *_EXCLUDED)
    return KernelSource(cache.entry(_KIND, key, build) / "linux", identity, f"{_KIND}/{key}")


def _unpack(tarball: Path, destination: Path) -> None:
    destination.mkdir()
    excluded = [f"--exclude={pattern}" for pattern in _EXCLUDED]
    command = ["tar", "-xf", str(tarball), "-C", str(destination), "--strip-components=1", *excluded]
    # xz 5.4 and later can decompress in several threads.
    environment = {**os.environ, "XZ_DEFAULTS": "-T0", "LC_ALL": "C"}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BuildFailed(f"{tarball} cannot be unpacked", evidence=done.stderr[-2000:])
    _require_kernel_tree(destination, tarball)


def _directory(path: Path) -> KernelSource:
    _require_kernel_tree(path, path)
    # kbuild refuses such a tree (6.1 Makefile, outputmakefile), but only after a minute.
    for left_over in (".config", "include/config", "arch/x86/include/generated"):
        if (path / left_over).exists():
            raise Misuse(
                f"the kernel source {path} was built in place, but kbuild needs a clean tree",
                evidence=f"{path / left_over} exists",
                advice=f"clean it (this removes its .config too): make -C {path} ARCH=x86_64 mrproper",
            )
    return KernelSource(path, f"directory {path} {_tree_digest(path)}")


def _require_kernel_tree(directory: Path, given: Path) -> None:
    for expected in ("Makefile", "Kconfig", "scripts/kconfig", "arch/x86"):
        if not (directory / expected).exists():
            raise Misuse(f"{given} is not a kernel's source: it has no {expected}")


def _tree_digest(root: Path) -> str:
    """Returns a digest of every file's name, size and modification time (about a second for a kernel)."""
    parts = []
    stack = [str(root)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != ".git":
                        stack.append(entry.path)
                else:
                    status = entry.stat(follow_symlinks=False)
                    parts.append(f"{entry.path}\0{status.st_size}\0{status.st_mtime_ns}")
    return digest_of(*sorted(parts))
