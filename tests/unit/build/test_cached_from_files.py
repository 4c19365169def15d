"""What was read from a file once is not read again, until it is another file."""

from __future__ import annotations

import os
from pathlib import Path

from kmod_harness.build.cache import Cache
from kmod_harness.build.cached_from_files import cached_from_files


class Reader:
    """Reads a file, and counts how often."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.times = 0

    def __call__(self) -> dict[str, str]:
        self.times += 1
        return {"text": self.path.read_text(errors="surrogateescape")}


def test_an_unchanged_file_is_read_once(tmp_path: Path) -> None:
    cache, path = Cache(tmp_path / "cache"), tmp_path / "file"
    path.write_bytes(b"one \xff")
    read = Reader(path)

    found = [cached_from_files("text", [path], read, cache) for _ in range(3)]

    assert found == [{"text": "one \udcff"}] * 3
    assert read.times == 1


def test_a_file_of_the_same_size_and_time_in_its_place_is_read_again(tmp_path: Path) -> None:
    cache, path = Cache(tmp_path / "cache"), tmp_path / "file"
    path.write_text("one")
    status = path.stat()
    read = Reader(path)
    cached_from_files("text", [path], read, cache)

    (tmp_path / "new").write_text("two")
    os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
    (tmp_path / "new").replace(path)

    assert cached_from_files("text", [path], read, cache) == {"text": "two"}


def test_a_damaged_memory_is_none(tmp_path: Path) -> None:
    cache, path = Cache(tmp_path / "cache"), tmp_path / "file"
    path.write_text("one")
    read = Reader(path)
    cached_from_files("text", [path], read, cache)
    for memory in (tmp_path / "cache/pointers").iterdir():
        memory.write_text("{}")

    assert cached_from_files("text", [path], read, cache) == {"text": "one"}
    assert read.times == 2
