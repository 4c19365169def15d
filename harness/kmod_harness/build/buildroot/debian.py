"""The inputs of a Buildroot build that has only Debian's archive: toolchain and tarballs, prepared once.

The tarballs are those whose SHA-256 Buildroot itself asks for (package/NAME/NAME.hash); Debian calls them
NAME_VERSION.orig.tar.*. Packages of which Debian has only another version are listed in
buildroot/support/debian/overrides.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.buildroot.downloads import refuse_wrong_downloads
from kmod_harness.build.buildroot.toolchain import assemble_toolchain
from kmod_harness.build.cache import Cache, digest_of
from kmod_harness.build.debian_sources import SourceFile, SourceIndex, source_index
from kmod_harness.build.required_tools import require_tools
from kmod_harness.errors import BuildFailed, MissingTool, Misuse

_KIND = "buildroot-debian"
#: Packages whose tarball Debian has byte for byte; host-fakeroot asks for host-acl, and that for host-attr.
SAME_TARBALLS = ("acl", "attr", "busybox", "dropbear")
#: The suites searched, in order, until every tarball is found: those of Buildroot 2026.02 are in trixie.
SUITES = ("trixie", "forky", "sid")
_HASH = re.compile(r"^sha256\s+([0-9a-f]{64})\s+(\S+\.tar\.\S+)$", re.MULTILINE)
#: Programs behind buildroot/support/debian/machine-tools, and what prepares libxcrypt.
MACHINE_TOOLS = {
    "autoreconf": "autoconf",
    "automake": "automake",
    "libtoolize": "libtool",
    "cpio": "cpio",
    "fakeroot": "fakeroot",
    "patchelf": "patchelf",
    "pkgconf": "pkgconf",
}


@dataclass(frozen=True)
class Tarball:
    """A tarball that Buildroot asks for.

    package: name of the package
    name: name of the file
    sha256: hash in the package's .hash file
    """

    package: str
    name: str
    sha256: str


@dataclass(frozen=True)
class DebianInputs:
    """The inputs of a build.

    directory: directory that KMOD_HARNESS_DEBIAN names
    entry: its cache entry
    versions: package -> version it was made from
    """

    directory: Path
    entry: str
    versions: Mapping[str, str]


def wanted_tarballs(buildroot: Path) -> tuple[Tarball, ...]:
    """Returns the tarballs of SAME_TARBALLS that a tree asks for. Raises Misuse without such a package."""
    tarballs = []
    for package in SAME_TARBALLS:
        path = buildroot / "package" / package / f"{package}.hash"
        found = _HASH.findall(path.read_text()) if path.is_file() else []
        if not found:
            raise Misuse(f"{buildroot} has no SHA-256 for the source of {package}", evidence=str(path))
        tarballs += [Tarball(package, name, sha256) for sha256, name in found]
    return tuple(tarballs)


def debian_inputs(buildroot: Path, cache: Cache, say: Callable[[str], None]) -> DebianInputs:
    """Returns toolchain and sources for a tree, prepared at the first call (half a minute).

    Raises MissingTool where apt or a program is missing, BuildFailed when Debian's archive lacks a file.
    """
    tarballs = wanted_tarballs(buildroot)
    recipe = (Path(__file__), Path(__file__).with_name("toolchain.py"))
    key = digest_of(*(path.read_bytes() for path in recipe), *(tarball.sha256 for tarball in tarballs))

    def build(entry: Path) -> dict[str, object]:
        require_tools(MACHINE_TOOLS)
        _require_ltdl()
        say("taking a toolchain and sources out of Debian's packages")
        versions = assemble_toolchain(entry / "toolchain")
        return {"versions": versions | _collect(entry, tarballs)}

    entry = cache.entry(_KIND, key, build)
    hashes = {tarball.name: frozenset({("sha256", tarball.sha256)}) for tarball in tarballs}
    try:
        refuse_wrong_downloads(entry / "tarballs", hashes, cache)
    except BuildFailed:
        # the entry lacks a tarball now: the next call makes it again
        cache.remove(_KIND, key)
        raise
    manifest = cache.manifest(_KIND, key) or {}
    versions = manifest.get("versions")
    return DebianInputs(entry, f"{_KIND}/{key}", versions if isinstance(versions, dict) else {})


def _require_ltdl() -> None:
    if not Path("/usr/share/aclocal/ltdl.m4").is_file():
        raise MissingTool(
            "ltdl.m4, which preparing libxcrypt needs, is missing",
            advice="as root: apt-get install --no-install-recommends libltdl-dev",
        )


def _collect(entry: Path, tarballs: tuple[Tarball, ...]) -> dict[str, str]:
    versions: dict[str, str] = {}
    missing = {tarball.sha256: tarball for tarball in tarballs}
    prepared = False
    for suite in SUITES:
        with source_index((suite,), (*SAME_TARBALLS, "libxcrypt")) as index:
            for tarball in list(missing.values()):
                file = index.with_sha256(tarball.sha256)
                if file is not None:
                    index.download(file, entry / "tarballs" / tarball.name)
                    versions[f"{file.package} (source, {suite})"] = file.version
                    del missing[tarball.sha256]
            if not prepared:
                file = _libxcrypt(index, entry)
                versions[f"libxcrypt (source, {suite})"] = file.version
                prepared = True
        if not missing:
            break
    if missing:
        raise BuildFailed(
            f"Debian's archive ({', '.join(SUITES)}) has no tarball that this Buildroot asks for",
            evidence="\n".join(f"{tarball.name} sha256 {tarball.sha256}" for tarball in missing.values()),
            advice="use the pinned release, or a network: --sources online",
        )
    attr = next(tarball for tarball in tarballs if tarball.package == "attr")
    _unpack(entry / "tarballs" / attr.name, entry / "attr")
    return versions


def _libxcrypt(index: SourceIndex, entry: Path) -> SourceFile:
    file = index.original("libxcrypt")
    if file is None:
        raise MissingTool("Debian's archive lists no source of libxcrypt")
    archive = entry / file.name
    index.download(file, archive)
    _unpack(archive, entry / "libxcrypt")
    archive.unlink()
    _run(["autoreconf", "-fi"], entry / "libxcrypt", "preparing libxcrypt")
    shutil.rmtree(entry / "libxcrypt/autom4te.cache", ignore_errors=True)
    return file


def _unpack(archive: Path, destination: Path) -> None:
    destination.mkdir()
    command = ["tar", "-xf", str(archive), "-C", str(destination), "--strip-components=1", "--no-same-owner"]
    _run(command, destination, f"unpacking {archive.name}")


def _run(command: list[str], directory: Path, what: str) -> None:
    done = subprocess.run(
        command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BuildFailed(f"{what} failed", evidence=(done.stdout + done.stderr)[-2000:])
