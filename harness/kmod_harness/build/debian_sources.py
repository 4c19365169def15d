"""Source files of any Debian suite, found by their SHA-256 on the mirror that this machine's apt uses.

The lists of a suite that the machine does not subscribe to are read into a scratch directory: nothing of the
system changes, and no root is needed. Files are downloaded one by one, since a mirror may lack a .dsc and
have the tarball.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kmod_harness.build.debian_packages import run_apt
from kmod_harness.errors import BuildFailed, MissingTool

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
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
    """Gives the suites' lists of sources (10 MB each), which are removed at the end.

    Raises MissingTool when apt's own sources name no Debian mirror, BuildFailed when it does not answer.
    """
    mirrors = debian_mirrors(run_apt(["apt-get", "indextargets", "--format", _TARGET], "its sources"))
    if not mirrors:
        raise MissingTool(
            "this machine's apt sources name no Debian mirror",
            advice="run `apt-get update` as root (or with sudo), then try again",
        )
    with tempfile.TemporaryDirectory(prefix="debian-sources-") as scratch:
        root = Path(scratch)
        (root / "lists/partial").mkdir(parents=True)
        (root / "cache/archives/partial").mkdir(parents=True)
        text = _stanza(mirrors[0], suites)
        (root / "debian.sources").write_text(text)
        options = (
            *("-o", f"Dir::Etc::sourcelist={root}/debian.sources", "-o", "Dir::Etc::sourceparts=-"),
            *("-o", f"Dir::State::lists={root}/lists", "-o", f"Dir::Cache={root}/cache"),
            # _apt, the user apt-get would switch to, cannot write into a private directory
            *("-o", "APT::Sandbox::User=root"),
            # apt-cache 2.6 cannot look several packages up in lists that are kept compressed
            *("-o", "Acquire::GzipIndexes=false"),
        )
        run_apt(["apt-get", "update", "-q", *options], f"the sources of {', '.join(suites)}")
        listing = run_apt(["apt-cache", *options, "showsrc", "--only-source", *packages], " ".join(packages))
        yield SourceIndex(source_files(listing, mirrors[0]), options)


_TARGET = "$(LABEL)|$(CREATED_BY)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)"


def debian_mirrors(targets: str) -> tuple[str, ...]:
    """Returns the addresses of Debian's main archive in apt's index targets, those of a plain suite first.

    >>> debian_mirrors("Debian|Packages|main|bookworm|http://mirror.example/debian/")
    ('http://mirror.example/debian/',)
    """
    found: dict[str, None] = {}
    for line in sorted(targets.splitlines(), key=lambda line: line.count("-")):
        label, created_by, component, _, address = (line.split("|") + [""] * 5)[:5]
        if label == "Debian" and created_by == "Packages" and component == "main" and address:
            found.setdefault(address)
    return tuple(found)


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


def _stanza(mirror: str, suites: Sequence[str]) -> str:
    if not _KEYRING.is_file():
        raise BuildFailed(
            f"{_KEYRING} is missing: lists of other suites could not be verified",
            advice="as root: apt-get install debian-archive-keyring",
        )
    lines = ("Types: deb-src", f"URIs: {mirror}", f"Suites: {' '.join(suites)}")
    return "\n".join((*lines, "Components: main", f"Signed-By: {_KEYRING}")) + "\n"
