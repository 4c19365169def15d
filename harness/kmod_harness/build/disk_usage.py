"""The space that a directory takes on disk."""

from __future__ import annotations

import os
from pathlib import Path


def disk_usage(path: Path) -> int:
    """Returns the bytes allocated below a directory; hard links count once, unreadable files not at all."""
    seen: set[tuple[int, int]] = set()
    total = 0
    stack = [str(path)]
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    if status.st_nlink > 1:
                        seen.add((status.st_dev, status.st_ino))
                    total += status.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
        except OSError:
            continue
    return total
