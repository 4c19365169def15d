"""What an early start is remembered by: the directory, the words, and what the repository's file says."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.cli.run.speculative_restore import SpeculativeRestore


def key(*words: str) -> list[str]:
    return SpeculativeRestore(["run", *words])._key


def test_another_file_of_the_repository_is_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    keys = [key()]
    for memory in ("256M", "512M"):
        (tmp_path / "kmod-harness.toml").write_text(f'memory = "{memory}"\n')
        keys.append(key())
    assert len({tuple(one) for one in keys}) == 3


def test_what_runs_in_the_guest_is_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert key("my.ko", "--", "true") == key("my.ko", "--", "false") == key("my.ko")
    assert key("my.ko") != key("other.ko")
