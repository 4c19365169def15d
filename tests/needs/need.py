"""A need: its name, how it is looked for, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import pytest

LIST = "harness/scripts/debian-packages.txt"


class Source(Protocol):
    """Where a need comes from."""

    @property
    def words(self) -> str:
        """Says it, as it stands behind the need's name in a reason."""

    def promise(self, groups: frozenset[str]) -> str:
        """Says what should have brought it, given what make has installed; "" when nothing should."""


@dataclass(frozen=True)
class Debian:
    """A package of Debian; `groups`: those of the list that bring it, () when make never installs it."""

    package: str
    groups: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        return f"Debian: {self.package}"

    def promise(self, groups: frozenset[str]) -> str:
        found = [group for group in self.groups if group in groups]
        return f"{LIST}, group {found[0]}, should bring {self.package}" if found else ""


@dataclass(frozen=True)
class Otherwise:
    """Something that no package brings; `words` say how a person gets it."""

    words: str

    def promise(self, groups: frozenset[str]) -> str:
        return ""


@dataclass(frozen=True)
class Need:
    """`there` looks for it, on this machine or in the kernel that the run's options choose."""

    name: str
    there: Callable[[pytest.Config], bool]
    source: Source

    @property
    def reason(self) -> str:
        """Why a test without it is skipped."""
        return f"needs {self.name} ({self.source.words})"

    def broken_promise(self, groups: frozenset[str]) -> str:
        """Why a test without it fails, where make has installed these groups; "" where it is skipped."""
        promise = self.source.promise(groups)
        return f"{self.name} is missing: {promise}" if promise else ""
