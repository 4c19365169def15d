"""The private directory of one machine: sockets, logs, images; gone when it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: sockaddr_un.sun_path is 108 bytes with its NUL (unix(7)); the longest name used here is 12.
_LONGEST_BASE = 60
_PREFIX = "kmod-harness-"


def base_directory() -> Path:
    """Returns $XDG_RUNTIME_DIR or the temporary directory, /tmp when their paths are too long."""
    for candidate in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()):
        if candidate and len(candidate) <= _LONGEST_BASE and os.access(candidate, os.W_OK | os.X_OK):
            return Path(candidate)
    return Path("/tmp")


@contextlib.contextmanager
def run_directory() -> Iterator[Path]:
    """A new directory, mode 0700, that this process holds by a lock and removes at the end.

    A process killed by SIGKILL leaves its directory, without the lock: the next
    one sweeps it.
    """
    base = base_directory()
    sweep(base)
    # locked under another name first: nobody's sweep can meet it unheld
    nameless = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}", dir=base))
    path = base / nameless.name[1:]
    lock = os.open(nameless, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        nameless.rename(path)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def sweep(base: Path) -> int:
    """Removes run directories of this user that no process holds; returns how many."""
    removed = 0
    for path in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if path.stat().st_uid == os.getuid() and not _is_held(path):
                shutil.rmtree(path)
                removed += 1
    return removed


def _is_held(path: Path) -> bool:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
