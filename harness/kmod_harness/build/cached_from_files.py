"""What was once read from large files and is not read again while they are the same files."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from kmod_harness.build.cache import Cache, default_cache, digest_of

T = TypeVar("T")


def cached_from_files(
    what: str, files: Sequence[Path], find: Callable[[], T], cache: Cache | None = None
) -> T:
    """Returns what `find` finds in these files, of JSON's types; from the cache while they are unchanged.

    `what` is its name and form. A file is the same while its path, inode, size and time of change are.
    There is one memory for each list of paths, so that it does not grow.
    """
    cache = cache or default_cache()
    name = f"{what}-{digest_of(*map(str, files))}"
    identity = [_identity(path) for path in files]
    with contextlib.suppress(ValueError, KeyError, TypeError):
        kept = json.loads(cache.pointer(name))
        if kept["files"] == identity:
            found: T = kept["found"]
            return found
    found = find()
    cache.note(name, json.dumps({"files": identity, "found": found}))
    return found


def _identity(path: Path) -> list[int]:
    status = os.stat(path)
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
