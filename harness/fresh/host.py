"""The settings that an empty root takes from this machine: where packages come from, and how to get there.

No program, file or tool setting is taken. This project holds no addresses; they are read from the settings of
apt and pip.
"""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: pip's settings that say how an index is reached (pip's documentation, "Configuration").
_PIP_NETWORK = (
    "index-url",
    "extra-index-url",
    "trusted-host",
    "proxy",
    "timeout",
    "default-timeout",
    "retries",
)
#: apt's (apt.conf(5), the Acquire group): proxies, and how old a mirror's lists may be.
_APT_NETWORK = re.compile(
    r'^(Acquire::(?:https?::.*|Check-Valid-Until|Check-Date|Retries)) "([^"]*)";$', re.MULTILINE
)
#: suites that every new package goes to at once
ROLLING = ("sid", "unstable")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class CannotRun(Exception):
    """This machine cannot make or enter an empty root; the text says what is missing."""


@dataclass(frozen=True)
class Host:
    """The settings of this machine.

    sources: lines of a sources.list, in which {suite} stands for the name of a suite
    apt_options: options of apt
    pip_settings: settings of pip
    certificates: file of certificates, None without
    proxies: environment variables of proxies
    """

    sources: tuple[str, ...]
    apt_options: tuple[str, ...]
    pip_settings: Mapping[str, str]
    certificates: Path | None
    proxies: Mapping[str, str]

    def sources_of(self, suite: str) -> tuple[str, ...]:
        """Returns the lines of /etc/apt/sources.list for this suite; sid has no updates and no security."""
        lines = (line for line in self.sources if suite not in ROLLING or "{suite}-" not in line)
        return tuple(line.format(suite=suite) for line in lines)

    def pip_configuration(self, certificates: str) -> str:
        """Returns the text of a pip.conf; `certificates` is the path of their file in the root, or ""."""
        settings = {**self.pip_settings, **({"cert": certificates} if certificates else {})}
        return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())


def look_at_host() -> Host:
    """Returns the settings of apt and pip. Raises CannotRun when apt names no mirror of Debian."""
    targets = _output(
        [
            "apt-get",
            "indextargets",
            "--format",
            "$(LABEL)\t$(COMPONENT)\t$(REPO_URI)",
            "Created-By: Packages",
        ]
    )
    pip = pip_settings(_pip_files(), os.environ)
    certificates = Path(pip.get("cert") or os.environ.get("SSL_CERT_FILE", "/nowhere"))
    options = _APT_NETWORK.findall(_output(["apt-config", "dump"]))
    return Host(
        sources=sources_from(targets),
        apt_options=tuple(f'{name} "{value}";' for name, value in options if remote_only([value])),
        pip_settings=network_part(pip),
        certificates=certificates if certificates.is_file() else None,
        proxies={name: os.environ[name] for name in _PROXIES if name in os.environ},
    )


def _pip_files() -> tuple[Path, ...]:
    """Returns pip's configuration files; a later one wins (pip's documentation, "Configuration files")."""
    home = Path.home()
    chosen = os.environ.get("PIP_CONFIG_FILE")
    return (
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        home / ".config/pip/pip.conf",
        *((Path(chosen),) if chosen else ()),
    )


def sources_from(targets: str) -> tuple[str, ...]:
    """Returns the lines for any suite, by apt's index targets, separated by tabs. Raises CannotRun."""
    mirrors: dict[str, str] = {}
    for line in targets.splitlines():
        label, component, address = line.split("\t")
        if component == "main" and label in ("Debian", "Debian-Security"):
            mirrors.setdefault(label, address.rstrip("/"))
    if "Debian" not in mirrors:
        raise CannotRun("apt's sources name no mirror of Debian's (as root: apt-get update)")
    lines = [f"deb {mirrors['Debian']} {{suite}} main", f"deb {mirrors['Debian']} {{suite}}-updates main"]
    if "Debian-Security" in mirrors:
        lines.append(f"deb {mirrors['Debian-Security']} {{suite}}-security main")
    return tuple(lines)


def pip_settings(files: Iterable[Path], environment: Mapping[str, str]) -> dict[str, str]:
    """Returns pip's settings: from the files in order, where a later one wins, then from variables PIP_*."""
    found: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file)
        except configparser.Error as error:
            raise CannotRun(f"pip's {file} cannot be read: {error}") from None
        for section in ("global", "install"):
            if parser.has_section(section):
                found.update(parser.items(section))
    for name, value in environment.items():
        if name.startswith("PIP_"):
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return found


def network_part(settings: Mapping[str, str]) -> dict[str, str]:
    """Returns the settings of how an index is reached, without addresses of this machine's own files."""
    kept = {key: remote_only(settings[key].split()) for key in _PIP_NETWORK if key in settings}
    return {key: value for key, value in kept.items() if value}


def remote_only(words: Iterable[str]) -> str:
    """Returns the words that are not addresses of this machine's own files."""
    return " ".join(word for word in words if not word.startswith(("file:", "/")))


def _output(command: Sequence[str]) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        ).stdout
    except FileNotFoundError:
        return ""
