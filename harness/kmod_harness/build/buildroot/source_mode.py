"""The mode of a Buildroot build's sources: from the network, or from Debian's packages alone."""

from __future__ import annotations

import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.errors import MissingTool

ONLINE = "online"
DEBIAN = "debian"
#: The Debian release whose compiler and headers buildroot/configs/debian.fragment names.
DEBIAN_RELEASE = "12"
_PROBE_SECONDS = 5.0
_BACKUP_SITE = re.compile(r'^config BR2_BACKUP_SITE\n.*?default "([^"]+)"', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class SourceMode:
    """The mode of the sources, and the reason for it, which is shown before a build."""

    mode: str
    reason: str


def choose_sources(
    asked: str, buildroot: Path, *, probe: Callable[[str], str] | None = None, os_release: str = ""
) -> SourceMode:
    """Returns the mode of the sources; `asked` is `auto`, `online` or `debian`.

    `auto` is `online` when Buildroot's backup site answers, which has a copy of every download. `probe`
    returns "" or why an address does not answer. Raises MissingTool when neither mode is possible.
    """
    if asked == ONLINE:
        return SourceMode(ONLINE, "as asked")
    unfit = _why_not_debian(os_release)
    if asked == DEBIAN:
        if unfit:
            raise MissingTool(f"sources out of Debian's packages: {unfit}", advice="use --sources online")
        return SourceMode(DEBIAN, "as asked")
    address = backup_site(buildroot)
    silence = (probe or _probe)(address)
    if not silence:
        return SourceMode(ONLINE, f"{address} answers")
    if unfit:
        raise MissingTool(
            "there are no sources to build Buildroot from",
            evidence=f"{address}: {silence}\nDebian's packages: {unfit}",
            advice="this needs a network, or Debian 12 with apt; or use the embedded root file system",
        )
    return SourceMode(DEBIAN, f"{address} does not answer: {silence}")


def backup_site(buildroot: Path) -> str:
    """Returns the address from which a tree downloads sources that a package's own site lacks."""
    found = _BACKUP_SITE.search((buildroot / "Config.in").read_text(errors="replace"))
    return found[1] if found else "https://sources.buildroot.net"


def _why_not_debian(os_release: str) -> str:
    if not os_release:
        try:
            os_release = Path("/etc/os-release").read_text()
        except OSError:
            os_release = "unknown"
        if shutil.which("apt-get") is None:
            return "this machine has no apt-get"
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    system = f"{fields.get('ID', 'unknown')} {fields.get('VERSION_ID', '')}".replace('"', "").strip()
    if system != f"debian {DEBIAN_RELEASE}":
        return f"they are put together for Debian {DEBIAN_RELEASE}, and this is {system}"
    return ""


def _probe(address: str) -> str:
    request = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        # a missing page is an answer too; a proxy that forbids the address answers 403 or more
        return "" if error.code in (301, 302, 404, 405) else f"HTTP status {error.code}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))
