"""The packages this machine needs, by the list that harness/scripts/install-packages.sh installs from."""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from kmod_harness.host.resources import data_directory


@dataclass(frozen=True)
class Requirement:
    """One line of the list, whose head explains its words.

    group: purpose that needs the package
    package: name of the Debian package
    check: what shows that it is installed
    """

    group: str
    package: str
    check: str

    @property
    def subject(self) -> str:
        """The name a person looks for; the package's own where it is only downloaded."""
        return self.package if self.check == "-" else self.check.partition(":")[2] or self.check


def requirements() -> tuple[Requirement, ...]:
    """Returns the list of this checkout or this installation, in its order."""
    return parse_requirements((data_directory("harness/scripts") / "debian-packages.txt").read_text())


def parse_requirements(text: str) -> tuple[Requirement, ...]:
    """Returns the list's lines without comments.

    >>> parse_requirements("# GROUP PACKAGE CHECK WHY\\nrun  qemu-utils  qemu-img  # disks\\n")
    (Requirement(group='run', package='qemu-utils', check='qemu-img'),)
    """
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return tuple(Requirement(*words[:3]) for words in lines if words)


def found(check: str) -> str:
    """Returns the path of what a check of the list looks for, "" when it is missing."""
    kind, _, what = check.rpartition(":")
    if kind == "file":
        return what if Path(what).exists() else ""
    if kind == "library":
        try:
            ctypes.CDLL(what)
        except OSError:
            return ""
        return what
    if kind == "python":
        module = find_spec(what)
        return (module.origin or what) if module is not None else ""
    return shutil.which(check) or ""
