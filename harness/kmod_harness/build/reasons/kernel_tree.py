"""The source tree that a kernel was built from, or one of its version."""

from __future__ import annotations

import re
from pathlib import Path

from kmod_harness.build.cache import Cache


def kernel_tree(build_dir: Path, release: str, cache: Cache) -> Path | None:
    """Returns the source of a kernel: its own, else one of its version in the cache, None without."""
    for tree in ((build_dir / "source"), build_dir):
        if _is_whole(tree):
            return tree.resolve()
    series = re.match(r"\d+\.\d+", release)
    for entry in reversed(cache.entries("source")):
        tree = entry.path / "linux"
        if series and _is_whole(tree) and _series(tree) == series[0]:
            return tree
    return None


def _is_whole(tree: Path) -> bool:
    # Debian's headers have neither
    return (tree / "Kconfig").is_file() and (tree / "drivers/Makefile").is_file()


def _series(tree: Path) -> str:
    text = (tree / "Makefile").read_text(errors="replace")
    return ".".join(re.findall(r"^(?:VERSION|PATCHLEVEL)\s*=\s*(\d+)", text, re.MULTILINE))
