"""Values computed from large files, kept in the cache while the files are unchanged."""

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
    """Returns the result of `find`, of JSON's types; from the cache while the files are unchanged.

    what: name of the value, with a number that changes with its form
    files: the files it is computed from
    find: function that computes it
    cache: the cache, None for the user's

    A file is unchanged while its path, inode, size and times are. The cache holds one value for each list of
    paths, so that it does not grow.
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
