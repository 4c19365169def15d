"""The private directory of one machine: sockets, logs, images; gone when it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kmod_harness.errors import Misuse

#: sockaddr_un.sun_path is 108 bytes with its NUL (unix(7)); the longest name used here is 12.
_LONGEST_BASE = 60
_PREFIX = "kmod-harness-"


class NoRunDirectory(Misuse):
    """Nowhere on this machine can a private directory with sockets in it be made."""


def base_directory() -> Path:
    """Returns $XDG_RUNTIME_DIR or the temporary directory, /tmp when they cannot be used.

    Raises NoRunDirectory.
    """
    whys = []
    for candidate in (os.environ.get("XDG_RUNTIME_DIR", ""), _temporary(), "/tmp"):
        why = _obstacle(candidate)
        if not why:
            return Path(candidate)
        if candidate:
            whys.append(f"{candidate!r} {why}")
    raise NoRunDirectory(
        "there is no directory for a machine's sockets and logs",
        evidence="\n".join(dict.fromkeys(whys)),
        advice="set XDG_RUNTIME_DIR or TMPDIR to a directory of yours with a short path",
    )


def _temporary() -> str:
    """Returns Python's temporary directory; not its last resort, the working directory of whoever calls."""
    try:
        found = tempfile.gettempdir()
    except FileNotFoundError:
        return ""
    named = [os.path.abspath(os.environ[name]) for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)]
    return found if found in (*named, "/tmp", "/var/tmp", "/usr/tmp") else ""


def _obstacle(candidate: str) -> str:
    """Returns why a path is no place for sockets, "" when it is one."""
    if not os.path.isabs(candidate):
        return "is not an absolute path"
    if len(os.fsencode(candidate)) > _LONGEST_BASE:
        return f"is longer than {_LONGEST_BASE} bytes"
    if not candidate.isprintable():
        # QMP carries text only
        return "is no text"
    return "" if os.access(candidate, os.W_OK | os.X_OK) else "cannot be written"


@contextlib.contextmanager
def run_directory() -> Iterator[Path]:
    """A new directory, mode 0700, that this process holds by a lock and removes at the end.

    A process killed by SIGKILL leaves its directory, without the lock: the next
    one sweeps it.
    """
    base = base_directory()
    sweep(base)
    path, lock = _claim(base)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def sweep(base: Path) -> int:
    """Removes run directories of this user that no process holds; returns how many."""
    removed = 0
    for path in base.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = _open(path)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.getuid():
                    # still locked: whoever has just made it waits in _claim, and makes another
                    shutil.rmtree(path)
                    removed += 1
            finally:
                os.close(lock)
    return removed


def _claim(base: Path) -> tuple[Path, int]:
    """Returns a new directory and its lock; one that a sweep met before the lock is made anew."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        with contextlib.suppress(FileNotFoundError):
            lock = _open(path)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
