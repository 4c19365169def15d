"""Comparison of Buildroot's downloads with its own hashes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from kmod_harness.build.cache import Cache
from kmod_harness.errors import BuildFailed

_HASH = re.compile(r"^(sha256|sha512)\s+([0-9a-f]{64,128})\s+(\S+)\s*$", re.MULTILINE)
_PLACES = ("package", "boot", "linux", "toolchain", "support")

#: File name -> its possible hashes, as (algorithm, hexadecimal digits).
Hashes = Mapping[str, frozenset[tuple[str, str]]]


def expected_hashes(buildroot: Path) -> Hashes:
    """Returns file name -> hashes for all files that a tree may download, by its .hash files (a second)."""
    found: dict[str, set[tuple[str, str]]] = {}
    for place in _PLACES:
        for path in (buildroot / place).rglob("*.hash"):
            for algorithm, digest, name in _HASH.findall(path.read_text(errors="replace")):
                found.setdefault(name, set()).add((algorithm, digest))
    return {name: frozenset(hashes) for name, hashes in found.items()}


def refuse_wrong_downloads(directory: Path, hashes: Hashes, cache: Cache) -> None:
    """Raises BuildFailed for the first file that does not match its hash; the file is kept elsewhere.

    Buildroot would delete it and download it again, without end. Files without a known hash are left to
    Buildroot.
    """
    for path in sorted(directory.rglob("*")):
        expected = hashes.get(path.name, frozenset())
        if not expected or path.is_symlink() or not path.is_file():
            continue
        found = {(algorithm, _digest(path, algorithm)) for algorithm, _ in expected}
        if not expected & found:
            aside = cache.aside(path)
            raise BuildFailed(
                f"{path.name} does not match Buildroot's hash: refused, and kept at {aside}",
                evidence="\n".join(
                    [f"expected {algorithm} {digest}" for algorithm, digest in sorted(expected)]
                    + [f"found    {algorithm} {digest}" for algorithm, digest in sorted(found)]
                ),
                advice="inspect it, then repeat the command: the file is downloaded again",
            )


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
