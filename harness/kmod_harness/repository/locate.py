"""Where a repository's settings stand: the nearest kmod-harness.toml, or pyproject.toml with its table.

A `run` asks this before anything else: nothing large is imported here.
"""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path

#: The settings' own file, and the one that has them below TABLE.
FILE = "kmod-harness.toml"
PYPROJECT = "pyproject.toml"
TABLE = ("tool", "kmod-harness")
_TABLE_HEAD = f"[{'.'.join(TABLE)}".encode()


def find_file(start: Path) -> Path | None:
    """Return the settings' file of a directory or of its nearest parent, None without one."""
    for directory in (start, *start.parents):
        if _is_everybodys(directory):
            continue
        own = directory / FILE
        if os.path.isfile(own):
            return own
        shared = directory / PYPROJECT
        if os.path.isfile(shared) and has_table(shared):
            return shared
    return None


def has_table(pyproject: Path) -> bool:
    """Return whether a pyproject.toml has a table of ours; one that cannot be read has none."""
    try:
        return _TABLE_HEAD in pyproject.read_bytes()
    except OSError:
        return False


def fingerprint(start: Path) -> str:
    """Return a text that changes when the settings around a directory do, "" where there are none."""
    file = find_file(start)
    return f"{file} {zlib.crc32(file.read_bytes()):08x}" if file is not None else ""


def _is_everybodys(directory: Path) -> bool:
    """True for /tmp and its like, where a stranger could leave a file whose command is then run."""
    try:
        mode = os.stat(directory).st_mode
    except OSError:
        return False
    return bool(mode & stat.S_ISVTX and mode & stat.S_IWOTH)
