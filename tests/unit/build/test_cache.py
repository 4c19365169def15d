"""The store of build products: two writers, a killed writer, eviction."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.build.cache import MANIFEST, Cache, default_cache, digest_of

#: Builds entry kind/key in argv[1]: announces itself, then waits for a line before it finishes.
_BUILDER = """
import sys
from pathlib import Path
from kmod_harness.build.cache import Cache
def build(path):
    (path / "half").write_text("half")
    print("building", flush=True)
    sys.stdin.readline()
    (path / "data").write_text("whole")
    return {}
say = lambda text: print("waiting", flush=True)
print(Cache(Path(sys.argv[1])).entry("kind", "key", build, say=say) / "data", flush=True)
"""


def builder(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _BUILDER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def filled(size: int = 4096, **manifest: object) -> Callable[[Path], dict[str, object]]:
    def build(path: Path) -> dict[str, object]:
        (path / "data").write_bytes(os.urandom(size))
        return manifest

    return build


def last_used(cache: Cache, kind: str, key: str, seconds_ago: float) -> None:
    then = time.time() - seconds_ago
    os.utime(cache.root / kind / key / MANIFEST, (then, then))


def test_an_entry_is_built_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = cache.entry("kind", "key", filled())
    assert cache.entry("kind", "key", lambda path: pytest.fail("built again")) == first
    assert cache.find("kind", "key") == first
    assert cache.find("kind", "other") is None


def test_the_store_is_its_users_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "some" / "store")
    cache.entry("kind", "key", filled())
    assert stat.S_IMODE(cache.root.stat().st_mode) == 0o700


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    def build(path: Path) -> dict[str, object]:
        (path / "half").write_text("")
        raise RuntimeError("compiler on fire")

    cache = Cache(tmp_path)
    with pytest.raises(RuntimeError, match="on fire"):
        cache.entry("kind", "key", build)
    assert cache.find("kind", "key") is None
    assert not (tmp_path / "kind" / "key").exists()


def test_a_second_process_waits_and_gets_the_first_ones_entry(tmp_path: Path) -> None:
    with builder(tmp_path) as first:
        assert said(first) == "building"
        with builder(tmp_path) as second:
            assert said(second) == "waiting"
            assert first.stdin is not None
            first.stdin.write("\n")
            first.stdin.flush()
            path = said(first)
            assert said(second) == path
    assert Path(path).read_text() == "whole"


def test_what_a_killed_writer_left_is_thrown_away_and_built_again(tmp_path: Path) -> None:
    with builder(tmp_path) as first:
        assert said(first) == "building"
        first.send_signal(signal.SIGKILL)
        first.wait()
    cache = Cache(tmp_path)
    assert (tmp_path / "kind/key/half").exists()
    assert cache.find("kind", "key") is None
    assert cache.entries() == ()

    def build(path: Path) -> dict[str, object]:
        assert list(path.iterdir()) == []
        return {}

    cache.entry("kind", "key", build)
    assert cache.find("kind", "key") is not None


def test_a_waiting_process_takes_over_from_a_killed_one(tmp_path: Path) -> None:
    with builder(tmp_path) as first:
        assert said(first) == "building"
        with builder(tmp_path) as second:
            assert said(second) == "waiting"
            first.kill()
            assert said(second) == "building"
            assert second.stdin is not None
            second.stdin.write("\n")
            second.stdin.flush()
            assert Path(said(second)).read_text() == "whole"


def test_an_entry_that_is_being_built_is_never_pruned(tmp_path: Path) -> None:
    with builder(tmp_path) as process:
        assert said(process) == "building"
        assert Cache(tmp_path).prune(0, idle_seconds=0) == ()
        assert (tmp_path / "kind/key/half").exists()
        process.communicate("\n")
    assert Cache(tmp_path).find("kind", "key") is not None


class TestResuming:
    """A build that takes minutes goes on where it was interrupted."""

    def test_what_was_made_before_an_interrupt_is_there(self, tmp_path: Path) -> None:
        cache = Cache(tmp_path)

        def interrupted(path: Path) -> dict[str, object]:
            (path / "half").write_text("half")
            raise KeyboardInterrupt

        def whole(path: Path) -> dict[str, object]:
            return {"found": (path / "half").read_text()}

        with pytest.raises(KeyboardInterrupt):
            cache.entry("kernel", "key", interrupted, resumable=True)
        assert cache.find("kernel", "key") is None
        cache.prune()
        path = cache.entry("kernel", "key", whole, resumable=True)
        assert sorted(file.name for file in path.iterdir()) == ["half", MANIFEST]

    def test_a_failed_build_begins_anew(self, tmp_path: Path) -> None:
        cache = Cache(tmp_path)

        def failing(path: Path) -> dict[str, object]:
            (path / "half").write_text("half")
            raise ValueError

        with pytest.raises(ValueError):
            cache.entry("kernel", "key", failing, resumable=True)
        assert not (tmp_path / "kernel/key").exists()

    def test_nobody_takes_it_up_for_a_day_and_it_is_removed(self, tmp_path: Path) -> None:
        cache = Cache(tmp_path)

        def interrupted(path: Path) -> dict[str, object]:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cache.entry("kernel", "key", interrupted, resumable=True)
        then = time.time() - 25 * 3600
        os.utime(tmp_path / "kernel/key/unfinished", (then, then))
        assert cache.prune() == ("kernel/key",)


def test_prune_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    with builder(tmp_path) as process:
        assert said(process) == "building"
        process.kill()
    assert Cache(tmp_path).prune() == ("kind/key",)
    assert not (tmp_path / "kind/key").exists()


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for age, key in enumerate(("newest", "middle", "oldest"), start=2):
        cache.entry("kind", key, filled(10 * 4096))
        last_used(cache, "kind", key, age * 3600)
    assert cache.prune(25 * 4096) == ("kind/oldest",)
    cache.find("kind", "middle")
    assert cache.prune(15 * 4096) == ("kind/newest",)
    assert [entry.name for entry in cache.entries()] == ["kind/middle"]


def test_what_was_used_a_moment_ago_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.entry("kind", "key", filled())
    assert cache.prune(0) == ()
    assert cache.find("kind", "key") is not None


def test_what_a_staying_entry_needs_stays_and_goes_with_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.entry("source", "tree", filled(100 * 4096))
    cache.entry("kernel", "built", filled(4096, needs=["source/tree"]))
    last_used(cache, "source", "tree", 9 * 3600)
    assert cache.prune(4096) == ()
    last_used(cache, "kernel", "built", 2 * 3600)
    assert cache.prune(4096) == ("kernel/built", "source/tree")


def test_a_finished_build_keeps_the_store_within_its_bound(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=15 * 4096)
    cache.entry("kind", "old", filled(10 * 4096))
    last_used(cache, "kind", "old", 7200)
    cache.entry("kind", "new", filled(10 * 4096))
    assert [entry.key for entry in cache.entries()] == ["new"]


def test_a_damaged_manifest_is_no_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    path = cache.entry("kind", "key", filled())
    (path / MANIFEST).write_text("{")
    assert cache.entries() == ()
    assert cache.manifest("kind", "key") is None


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "/abs", "x" * 200])
def test_a_name_cannot_leave_the_store(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a cache name"):
        Cache(tmp_path).find("kind", name)


def test_the_default_place_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache().root == tmp_path / "kmod-harness"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache().root == tmp_path / ".cache/kmod-harness"


@given(st.lists(st.binary(max_size=5), max_size=4), st.lists(st.binary(max_size=5), max_size=4))
def test_digests_differ_where_the_parts_differ(first: list[bytes], second: list[bytes]) -> None:
    assert (digest_of(*first) == digest_of(*second)) == (first == second)


def test_what_lies_in_an_entry_keeps_it_from_being_pruned_when_it_is_used(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for key in ("used", "unused"):
        cache.entry("kind", key, filled())
        last_used(cache, "kind", key, 7200)
    cache.mark_used(tmp_path / "kind" / "used" / "deep" / "file")
    cache.mark_used(tmp_path / "nowhere" / "else" / "file")
    cache.mark_used(Path("/elsewhere/kind/unused/file"))
    assert cache.prune(0) == ("kind/unused",)


def test_a_directory_that_is_no_entry_of_ours_is_left_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.entry("kind", "key", filled())
    somebody_elses = tmp_path / "kind" / ".scratch-xyz"
    somebody_elses.mkdir()
    (tmp_path / "kind" / "half").mkdir()
    assert cache.prune(0, idle_seconds=-1.0) == ("kind/half", "kind/key")
    assert somebody_elses.is_dir()
