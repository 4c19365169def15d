"""Source files of any Debian suite, found by their SHA-256 on the mirror that this machine's apt uses.

Files are downloaded one by one, since a mirror may lack a .dsc and have the tarball.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kmod_harness.build.debian_packages import run_apt
from kmod_harness.build.debian_suites import SOURCES, mirror, suite_lists

_DOWNLOADER = "/usr/lib/apt/apt-helper"
#: " SHA256 SIZE NAME" below "Checksums-Sha256:" (deb822, Debian Policy 5.6.24)
_CHECKSUM = re.compile(r"^ ([0-9a-f]{64}) \d+ (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class SourceFile:
    """A file of a source package.

    name: name of the file
    sha256: its hash
    address: address to download it from
    package: name of the source package
    version: version of the source package
    """

    name: str
    sha256: str
    address: str
    package: str
    version: str


@dataclass(frozen=True)
class SourceIndex:
    """The source files of some packages in suites of Debian's archive."""

    files: tuple[SourceFile, ...]
    options: tuple[str, ...] = field(default=(), repr=False)

    def with_sha256(self, sha256: str) -> SourceFile | None:
        """Returns the file with this content, whatever its name, None without it."""
        return next((file for file in self.files if file.sha256 == sha256), None)

    def original(self, package: str) -> SourceFile | None:
        """Returns the upstream tarball of a package's newest listed version, None without it."""
        found = [file for file in self.files if file.package == package and ".orig.tar." in file.name]
        return next((file for file in found if not file.name.endswith(".asc")), None)

    def download(self, file: SourceFile, destination: Path) -> None:
        """Downloads a file, whose hash apt checks. Raises BuildFailed with apt's message."""
        destination.parent.mkdir(parents=True, exist_ok=True)
        command = [_DOWNLOADER, *self.options, "download-file", file.address, str(destination)]
        run_apt([*command, f"SHA256:{file.sha256}"], file.name)


@contextlib.contextmanager
def source_index(suites: Sequence[str], packages: Sequence[str]) -> Iterator[SourceIndex]:
    """Gives the source files of some packages in these suites.

    Raises MissingTool when apt's own sources name no Debian mirror, BuildFailed when it does not answer.
    """
    with suite_lists(suites, SOURCES) as options:
        listing = run_apt(["apt-cache", *options, "showsrc", "--only-source", *packages], " ".join(packages))
        yield SourceIndex(source_files(listing, mirror()), options)


def source_files(listing: str, mirror: str) -> tuple[SourceFile, ...]:
    """Returns the files of the source packages in the output of `apt-cache showsrc`, the newest first."""
    files = []
    for paragraph in listing.split("\n\n"):
        fields = _fields(paragraph)
        checksums = fields.get("Checksums-Sha256", "")
        directory = fields.get("Directory", "")
        for sha256, name in _CHECKSUM.findall(checksums):
            # the list is signed, but a name with a slash would leave the directory
            if "/" not in name and directory:
                address = f"{mirror.rstrip('/')}/{directory}/{name}"
                files.append(
                    SourceFile(name, sha256, address, fields.get("Package", ""), fields.get("Version", ""))
                )
    return tuple(files)


def _fields(paragraph: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        if line.startswith(" "):
            fields[name] = fields.get(name, "") + f"\n{line}"
        elif ":" in line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return fields
