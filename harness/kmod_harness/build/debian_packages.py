"""Debian packages without root: downloaded by apt-get, unpacked by dpkg-deb, not installed."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kmod_harness.errors import BuildFailed, MissingTool

#: A directory whose time changes with every `apt-get update`: only then may apt know newer packages.
APT_LISTS = Path("/var/lib/apt/lists")

#: Messages of apt-get when its lists are missing or old, or lack the package.
_STALE_LISTS = (
    "Unable to locate package",
    "No packages found",
    "Can't find a source",
    "no installation candidate",
    "404",
)


def installed_version(package: str) -> str:
    """Returns the version of an installed package, "" when it is not installed or this is not Debian."""
    try:
        answer = subprocess.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    status, _, version = answer.stdout.partition(" ")
    return version if answer.returncode == 0 and status == "installed" else ""


def candidate_version(package: str, options: Sequence[str] = ()) -> str:
    """Returns the version that apt would download (takes a second). Raises MissingTool when there is none.

    options: apt's, as `debian_suites.suite_lists` gives them; () for the machine's own lists
    """
    text = run_apt(["apt-cache", *options, "policy", package], package)
    # apt takes an unknown name for a regular expression, and answers for all that match
    match = re.search(rf"^{re.escape(package)}:\n(?: .*\n)*? +Candidate: (\S+)", text, re.MULTILINE)
    if match is None or match[1] == "(none)":
        raise _unknown(package, text)
    return match[1]


def dependencies(package: str, options: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the names of the packages that a package depends on. Raises MissingTool when it is unknown."""
    text = run_apt(["apt-cache", *options, "depends", "--important", package], package)
    return tuple(re.findall(r"^ *\|?Depends: ([a-z0-9][a-z0-9+.-]+)", text, re.MULTILINE))


def unpack_packages(
    packages: Sequence[str], destination: Path, options: Sequence[str] = ()
) -> dict[str, str]:
    """Downloads packages and unpacks them into `destination`; returns package -> version.

    Raises MissingTool when apt-get is missing or does not know a package, BuildFailed when a download or an
    archive is broken.
    """
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=destination.parent) as scratch:
        # _apt, the user apt-get would switch to, cannot write into a private directory.
        command = ["apt-get", *options, "download", "-q", "-o", "APT::Sandbox::User=root", *packages]
        run_apt(command, " ".join(packages), directory=Path(scratch))
        archives = sorted(Path(scratch).glob("*.deb"))
        if len(archives) != len(set(packages)):
            raise BuildFailed(f"apt-get downloaded {len(archives)} of {len(packages)} packages")
        versions = {}
        for archive in archives:
            unpack_archive(archive, destination)
            # deb(5): NAME_VERSION_ARCH.deb, where the version's colon is written as %3a
            name, version, _ = archive.name.split("_", 2)
            versions[name] = version.replace("%3a", ":")
        if set(versions) != set(packages):
            raise _unknown(" ".join(packages), f"apt-get downloaded {' '.join(versions)}")
    return versions


def unpack_archive(archive: Path, destination: Path) -> None:
    """Unpacks a .deb into a directory. Raises MissingTool without dpkg-deb, BuildFailed for a broken one."""
    try:
        unpacked = subprocess.run(
            ["dpkg-deb", "-x", archive, destination], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise MissingTool(
            f"dpkg-deb, which unpacks {archive.name}, is not installed",
            advice="unpack it by other means (`ar x`, then `tar xf data.tar.*`), and name the directory",
        ) from None
    if unpacked.returncode != 0:
        raise BuildFailed(f"{archive.name} cannot be unpacked", evidence=unpacked.stderr)


def run_apt(command: Sequence[str], what: str, directory: Path | None = None) -> str:
    """Returns the output of one of apt's programs.

    Raises MissingTool when the program is missing or its lists lack `what`, BuildFailed otherwise.
    """
    try:
        answer = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise MissingTool(
            f"{command[0]} is not installed, and {what} comes from Debian's packages",
            advice="use a Debian machine or container, or give a kernel and a root file system by path",
        ) from None
    if answer.returncode == 0:
        return answer.stdout
    if any(text in answer.stderr for text in _STALE_LISTS):
        raise _unknown(what, answer.stderr)
    raise BuildFailed(f"{' '.join(command[:2])} failed for {what}", evidence=answer.stderr)


def _unknown(what: str, evidence: str) -> MissingTool:
    return MissingTool(
        f"apt does not know where to get {what}",
        evidence=evidence,
        advice="run `apt-get update` as root (or with sudo), then try again",
    )
