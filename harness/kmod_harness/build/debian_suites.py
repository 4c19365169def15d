"""The package lists of any Debian suite, read from the mirror that this machine's own apt uses.

They lie in a scratch directory: nothing of the system changes, and no root is needed.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from kmod_harness.build.debian_packages import run_apt
from kmod_harness.errors import BuildFailed, MissingTool

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TARGET = "$(LABEL)|$(CREATED_BY)|$(COMPONENT)|$(RELEASE)|$(REPO_URI)"
BINARIES, SOURCES = "deb", "deb-src"


@contextlib.contextmanager
def suite_lists(suites: Sequence[str], kind: str) -> Iterator[tuple[str, ...]]:
    """Gives the options with which apt's programs read these suites alone (10 MB each), removed at the end.

    kind: BINARIES or SOURCES

    Raises MissingTool when apt's own sources name no Debian mirror, BuildFailed when it does not answer or
    lacks a suite.
    """
    address = mirror()
    with tempfile.TemporaryDirectory(prefix="debian-lists-") as scratch:
        root = Path(scratch)
        (root / "lists/partial").mkdir(parents=True)
        (root / "cache/archives/partial").mkdir(parents=True)
        (root / "debian.sources").write_text(_stanza(kind, address, suites))
        options = (
            *("-o", f"Dir::Etc::sourcelist={root}/debian.sources", "-o", "Dir::Etc::sourceparts=-"),
            *("-o", f"Dir::State::lists={root}/lists", "-o", f"Dir::Cache={root}/cache"),
            # a pin of this machine's is not about these suites
            *("-o", "Dir::Etc::preferences=-", "-o", "Dir::Etc::preferencesparts=-"),
            # _apt, the user apt-get would switch to, cannot write into a private directory
            *("-o", "APT::Sandbox::User=root"),
            # apt-cache 2.6 cannot look several packages up in lists that are kept compressed
            *("-o", "Acquire::GzipIndexes=false"),
        )
        run_apt(["apt-get", "update", "-q", *options], f"the lists of {', '.join(suites)}")
        yield options


def mirror() -> str:
    """Returns the address of Debian's main archive in apt's own sources. Raises MissingTool without one."""
    mirrors = debian_mirrors(run_apt(["apt-get", "indextargets", "--format", _TARGET], "its sources"))
    if not mirrors:
        raise MissingTool(
            "this machine's apt sources name no Debian mirror",
            advice="run `apt-get update` as root (or with sudo), then try again",
        )
    return mirrors[0]


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


def _stanza(kind: str, address: str, suites: Sequence[str]) -> str:
    if not _KEYRING.is_file():
        raise BuildFailed(
            f"{_KEYRING} is missing: lists of other suites could not be verified",
            advice="as root: apt-get install debian-archive-keyring",
        )
    lines = (f"Types: {kind}", f"URIs: {address}", f"Suites: {' '.join(suites)}")
    return "\n".join((*lines, "Components: main", f"Signed-By: {_KEYRING}")) + "\n"
