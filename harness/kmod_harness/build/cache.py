"""A store of expensive build products, each named by a digest of its inputs.

An entry is the directory `ROOT/KIND/KEY/`. It is built at its final place, since kernel build directories
hold absolute paths, and becomes valid when its last file, `manifest.json`, is renamed into place. A directory
without a manifest was left by a killed writer; the next one discards it. Processes that want the same entry
wait for each other on a lock file, which the system releases however its holder ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.disk_usage import disk_usage
from kmod_harness.build.entry_directory import MANIFEST as MANIFEST
from kmod_harness.build.entry_directory import can_be_resumed, entry_directory, remove_directory
from kmod_harness.errors import Misuse
from kmod_harness.host.directories import cache_root

#: Bytes above which the least recently used entries are removed: room for about 20 kernels.
DEFAULT_MAX_BYTES = 20 * 1000**3
#: Seconds since its last use in which an entry counts as in use, and is never removed.
IN_USE_SECONDS = 3600.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,150}")

Manifest = Mapping[str, object]
#: Fills the given empty directory and returns the content of the manifest.
Builder = Callable[[Path], Manifest]


def digest_of(*parts: str | bytes) -> str:
    """Returns 20 hexadecimal digits that identify these parts in this order."""
    total = hashlib.sha256()
    for part in parts:
        # a path may hold bytes that are no text (PEP 383)
        data = part.encode(errors="surrogateescape") if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:20]


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that readers see either all of it or none."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_bytes(data)
    scratch.replace(path)


class CacheUnusable(Misuse):
    """The store cannot be read, or lacks an entry and cannot be written: another user's, read-only, full."""


@dataclass(frozen=True)
class CacheEntry:
    """A complete entry.

    kind: kind of the product
    key: digest of its inputs
    path: its directory
    manifest: content of its manifest
    used: time of its last use, seconds since the epoch
    """

    kind: str
    key: str
    path: Path
    manifest: Manifest
    used: float

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.key}"

    @property
    def needs(self) -> tuple[str, ...]:
        needs = self.manifest.get("needs", ())
        return tuple(str(name) for name in needs) if isinstance(needs, list) else ()

    def size(self) -> int:
        """Returns the bytes it occupied on disk when it was finished; hard links count once."""
        known = self.manifest.get("bytes")
        return known if isinstance(known, int) else disk_usage(self.path)


@dataclass(frozen=True)
class Cache:
    """The store under `root`; many processes may call every method at once."""

    root: Path
    max_bytes: int = DEFAULT_MAX_BYTES

    def find(self, kind: str, key: str) -> Path | None:
        """Returns the directory of a complete entry and marks it as used now; None without it.

        Entries of a read-only store are found too. Raises CacheUnusable.
        """
        path = self._path(kind, key)
        try:
            os.utime(path / MANIFEST)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if not os.access(path / MANIFEST, os.R_OK):
                raise self._unusable("cannot be read", error) from error
        return path

    def entry(
        self,
        kind: str,
        key: str,
        build: Builder,
        *,
        say: Callable[[str], None] | None = None,
        resumable: bool = False,
    ) -> Path:
        """Returns the directory of an entry, built by `build` unless it exists.

        A build of the same entry by another process is awaited, which `say` reports (default: a line on
        standard error). When `build` raises, the directory is removed; of one that is `resumable` and was
        interrupted or killed it stays for a day, and `build` is given it as it was left. After a build the
        store is pruned to its bound. Raises CacheUnusable.
        """
        known = self.find(kind, key)
        if known is not None:
            return known
        path = self._path(kind, key)
        with self._lock(kind, key, say or _say_on_stderr):
            known = self.find(kind, key)
            if known is not None:
                return known
            with contextlib.ExitStack() as made:
                with self._written(lacks=f"{kind}/{key}"):
                    made.enter_context(entry_directory(path, resumable=resumable))
                manifest = {**build(path), "kind": kind, "key": key, "bytes": disk_usage(path)}
                text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
                write_atomically(path / MANIFEST, text.encode())
        self.prune(self.max_bytes)
        return path

    def mark_used(self, path: Path) -> None:
        """Marks the entry that holds a file as used now; does nothing for a file elsewhere."""
        with contextlib.suppress(ValueError, OSError):
            kind, key, *_ = path.relative_to(self.root).parts
            os.utime(self._path(kind, key) / MANIFEST)

    def manifest(self, kind: str, key: str) -> Manifest | None:
        """Returns the manifest of an entry, None without the entry."""
        return _read_manifest(self._path(kind, key))

    def entries(self, kind: str = "*") -> tuple[CacheEntry, ...]:
        """Returns the complete entries (of one kind), least recently used first."""
        found = []
        for file in self.root.glob(f"{kind}/*/{MANIFEST}"):
            path = file.parent
            manifest = _read_manifest(path)
            if manifest is not None:
                found.append(CacheEntry(path.parent.name, path.name, path, manifest, _used(path)))
        return tuple(sorted(found, key=lambda entry: entry.used))

    def remove(self, kind: str, key: str, *, unused_since: float = float("inf")) -> bool:
        """Removes an entry; returns False when it is locked or was used after `unused_since` (epoch)."""
        from filelock import FileLock, Timeout  # lazy

        path = self._path(kind, key)
        try:
            with self._written(), FileLock(self._lock_file(kind, key), blocking=False):
                if _used(path) > unused_since:
                    return False
                remove_directory(path)
        except Timeout:
            return False
        return True

    def prune(
        self, max_bytes: int = DEFAULT_MAX_BYTES, *, idle_seconds: float = IN_USE_SECONDS
    ) -> tuple[str, ...]:
        """Removes the least recently used entries until at most `max_bytes` are left; returns their names.

        An entry that is locked or was used in the last `idle_seconds` stays, and so does one that a staying
        entry needs. Incomplete directories that nobody is building are removed first.
        """
        removed = [f"{kind}/{key}" for kind, key in self._incomplete() if self.remove(kind, key)]
        entries = {entry.name: entry for entry in self.entries()}
        sizes = {name: entry.size() for name, entry in entries.items()}
        total = sum(sizes.values())
        newest_allowed = time.time() - idle_seconds
        for entry in sorted(entries.values(), key=lambda entry: entry.used):
            for name in (entry.name, *entry.needs):
                if total <= max_bytes:
                    return tuple(removed)
                if name not in entries or entries[name].used > newest_allowed:
                    continue
                if any(name in other.needs for other in entries.values()):
                    continue
                if self.remove(entries[name].kind, entries[name].key, unused_since=newest_allowed):
                    removed.append(name)
                    total -= sizes[name]
                    del entries[name]
        return tuple(removed)

    def log_path(self, kind: str, key: str) -> Path:
        """Returns the path for the log of a build, which outlives a failed entry."""
        with self._written():
            return self._directory("logs") / f"{_checked(kind)}-{_checked(key)}.log"

    def measure(self, kind: str, key: str) -> None:
        """Notes the present size of an entry, for one that grows after it was made."""
        path = self._path(kind, key)
        manifest = {**(_read_manifest(path) or {}), "bytes": disk_usage(path)}
        write_atomically(path / MANIFEST, (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode())

    def aside(self, path: Path) -> Path:
        """Moves a file that must not be used, but may be inspected, elsewhere; returns the new path."""
        with self._written():
            new = self._directory("aside") / f"{path.name}.{time.time_ns()}"
            path.replace(new)
        return new

    def pointer(self, name: str) -> str:
        """Returns the text last written by `point`, or ""."""
        try:
            return (self.root / "pointers" / _checked(name)).read_bytes().decode(errors="surrogateescape")
        except OSError:
            return ""

    def point(self, name: str, text: str) -> None:
        """Keeps a short text under a name: which of several entries is the current one.

        Raises CacheUnusable, unless that text is there already.
        """
        if self.pointer(name) == text:
            return
        with self._written():
            data = text.encode(errors="surrogateescape")
            write_atomically(self._directory("pointers") / _checked(name), data)

    def note(self, name: str, text: str) -> None:
        """As `point`, for a text that can be found out again: a read-only store does not keep it."""
        with contextlib.suppress(CacheUnusable):
            self.point(name, text)

    def _path(self, kind: str, key: str) -> Path:
        return self.root / _checked(kind) / _checked(key)

    def _directory(self, name: str) -> Path:
        """Returns a directory of the store, made if need be; only its user may read it."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    @contextlib.contextmanager
    def _written(self, *, lacks: str = "") -> Iterator[None]:
        """Raises an OSError inside, where the store is written, as CacheUnusable."""
        try:
            yield
        except TimeoutError:
            # another process holds the lock
            raise
        except OSError as error:
            why = f"lacks {lacks} and cannot be written" if lacks else "cannot be written"
            raise self._unusable(why, error) from error

    def _unusable(self, why: str, error: OSError) -> CacheUnusable:
        return CacheUnusable(
            f"the cache {self.root} {why}: {error.strerror}",
            advice="set XDG_CACHE_HOME to a directory of yours, with room for a kernel (1.6 GB)",
        )

    def _lock_file(self, kind: str, key: str) -> Path:
        return self._directory("locks") / f"{_checked(kind)}-{_checked(key)}.lock"

    def _lock(self, kind: str, key: str, say: Callable[[str], None]) -> AbstractContextManager[object]:
        from filelock import FileLock, Timeout  # lazy

        try:
            with self._written(lacks=f"{kind}/{key}"):
                lock = FileLock(self._lock_file(kind, key))
                return lock.acquire(blocking=False)
        except Timeout:
            say(f"another process is building {kind} {key}: waiting for it")
            return lock.acquire()

    def _incomplete(self) -> tuple[tuple[str, str], ...]:
        return tuple(
            (path.parent.name, path.name)
            for path in self.root.glob("*/*")
            # a name of another form is not the store's
            if path.is_dir()
            and _is_name(path.name)
            and not (path / MANIFEST).exists()
            and not can_be_resumed(path)
        )


def default_cache() -> Cache:
    """Returns the user's store."""
    return Cache(cache_root())


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _checked(name: str) -> str:
    if not _is_name(name):
        raise ValueError(f"not a cache name: {name!r}")
    return name


def _say_on_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _read_manifest(path: Path) -> Manifest | None:
    try:
        content = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _used(path: Path) -> float:
    try:
        return (path / MANIFEST).stat().st_mtime
    except OSError:
        return 0.0
