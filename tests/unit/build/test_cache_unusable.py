"""A store that cannot be written or read: what is in it is used, what it lacks is told."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kmod_harness.build.cache import MANIFEST, Cache, CacheUnusable
from kmod_harness.build.cached_from_files import cached_from_files


@pytest.fixture
def nowhere(tmp_path: Path) -> Cache:
    """A store whose place is a file's: not even root can make a directory there."""
    (tmp_path / "file").touch()
    return Cache(tmp_path / "file" / "kmod-harness")


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """A store with one entry, on a file system that the machine has made read-only since."""
    cache = Cache(tmp_path / "cache")
    cache.entry("kind", "known", lambda path: {})
    cache.point("pointer", "text")

    def refused(path: object, *rest: object, **options: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "utime", refused)
    monkeypatch.setattr("kmod_harness.build.cache.write_atomically", refused)
    return cache


def nothing(path: Path) -> dict[str, object]:
    return {}


def test_what_a_read_only_store_holds_is_found(read_only: Cache) -> None:
    assert read_only.entry("kind", "known", nothing) == read_only.root / "kind/known"
    read_only.mark_used(read_only.root / "kind/known/file")


def test_what_it_points_to_already_is_not_written_again(read_only: Cache) -> None:
    read_only.point("pointer", "text")
    with pytest.raises(CacheUnusable, match="cannot be written: Read-only file system"):
        read_only.point("pointer", "another")


def test_an_entry_that_cannot_be_read_is_told(read_only: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(CacheUnusable, match="cannot be read"):
        read_only.find("kind", "known")


def test_what_has_to_be_written_is_told_with_what_is_lacking_and_what_to_set(nowhere: Cache) -> None:
    with pytest.raises(CacheUnusable) as told:
        nowhere.entry("kernel", "key", nothing)
    lacking = f"the cache {nowhere.root} lacks kernel/key and cannot be written: Not a directory"
    assert told.value.message == lacking
    assert "XDG_CACHE_HOME" in told.value.advice


@pytest.mark.parametrize(
    "write",
    [
        lambda cache: cache.point("name", "text"),
        lambda cache: cache.log_path("kind", "key"),
        lambda cache: cache.remove("kind", "key"),
        lambda cache: cache.aside(cache.root / "file"),
    ],
    ids=["point", "log", "remove", "aside"],
)
def test_every_other_write_is_told_too(nowhere: Cache, write: Callable[[Cache], object]) -> None:
    with pytest.raises(CacheUnusable, match="cannot be written: Not a directory"):
        write(nowhere)


def test_what_is_a_memory_only_is_forgotten(nowhere: Cache, tmp_path: Path) -> None:
    nowhere.note("name", "text")
    assert nowhere.pointer("name") == ""
    assert cached_from_files("what", [tmp_path], lambda: "found", nowhere) == "found"


def test_nothing_is_in_a_store_that_is_not_there(nowhere: Cache) -> None:
    assert nowhere.find("kind", "key") is None
    assert nowhere.entries() == ()


def test_a_name_of_odd_bytes_is_remembered_as_it_is(tmp_path: Path) -> None:
    cache = Cache(tmp_path / os.fsdecode(b"odd-\xff"))
    cache.point("name", str(cache.root))
    assert cache.pointer("name") == str(cache.root)
    assert (cache.entry("kind", "key", nothing) / MANIFEST).is_file()
