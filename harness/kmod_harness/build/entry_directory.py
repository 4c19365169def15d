"""The directory of a cache entry while it is built: removed when that fails, kept when it can be resumed."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

#: What a complete entry has; without it nothing else of a directory counts.
MANIFEST = "manifest.json"
#: A file of a directory whose build can be gone on with, until it is complete; the seconds it is kept.
_UNFINISHED = "unfinished"
_KEPT_SECONDS = 24 * 3600.0


@contextlib.contextmanager
def entry_directory(path: Path, *, resumable: bool) -> Iterator[None]:
    """Makes a directory for a build, and removes it when the build fails.

    resumable: when it was interrupted or killed instead, the directory is kept, and is given as it was left
    """
    mark = path / _UNFINISHED
    if not (resumable and mark.exists()):
        remove_directory(path)
        path.mkdir(parents=True, mode=0o700)
    if resumable:
        mark.touch()
    try:
        yield
        mark.unlink(missing_ok=True)
    except Exception:
        remove_directory(path)
        raise
    except BaseException:
        if not resumable:
            remove_directory(path)
        raise


def can_be_resumed(path: Path) -> bool:
    """Returns whether a build there was interrupted within the last day."""
    try:
        return time.time() - (path / _UNFINISHED).stat().st_mtime < _KEPT_SECONDS
    except OSError:
        return False


def remove_directory(path: Path) -> None:
    """Removes a directory, its manifest first, so that no reader sees half of it."""
    (path / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)
