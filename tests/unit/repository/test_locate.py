"""Which file a directory's settings come from, and when they have changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.errors import Misuse
from kmod_harness.repository.locate import find_file, fingerprint
from kmod_harness.repository.read import read_repository


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_there_may_be_none(tmp_path: Path) -> None:
    assert find_file(tmp_path) is None
    assert fingerprint(tmp_path) == ""
    assert read_repository(tmp_path).file is None


def test_the_nearest_parent_has_it(tmp_path: Path) -> None:
    write(tmp_path / "kmod-harness.toml", "cpus = 2\n")
    near = write(tmp_path / "driver/kmod-harness.toml", "cpus = 3\n")
    below = tmp_path / "driver/src/deep"
    below.mkdir(parents=True)
    assert find_file(below) == near
    assert read_repository(below).machine.cpus == 3


def test_pyproject_has_it_where_it_has_the_table(tmp_path: Path) -> None:
    top = write(tmp_path / "pyproject.toml", "[tool.kmod-harness]\ncpus = 4\n")
    write(tmp_path / "driver/pyproject.toml", '[project]\ndependencies = ["kmod-harness"]\n')
    assert find_file(tmp_path / "driver") == top
    assert read_repository(tmp_path / "driver").machine.cpus == 4


def test_its_own_file_comes_before_pyproject(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", "[tool.kmod-harness]\ncpus = 4\n")
    own = write(tmp_path / "kmod-harness.toml", "cpus = 5\n")
    assert find_file(tmp_path) == own


def test_a_directory_of_that_name_is_none(tmp_path: Path) -> None:
    (tmp_path / "kmod-harness.toml").mkdir()
    assert find_file(tmp_path) is None


def test_a_directory_like_tmp_where_everybody_may_leave_a_file_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "kmod-harness.toml", '[modules]\nbuild = "evil"\nload = ["x.ko"]\n')
    (tmp_path / "mine").mkdir()
    tmp_path.chmod(0o1777)
    assert find_file(tmp_path / "mine") is None
    tmp_path.chmod(0o777)  # as some CI checks out
    assert find_file(tmp_path / "mine") is not None


def test_a_file_that_cannot_be_read_as_toml_is_told_by_its_path(tmp_path: Path) -> None:
    file = write(tmp_path / "kmod-harness.toml", "cpus\n")
    with pytest.raises(Misuse, match=f"{file}:1: this is no TOML"):
        read_repository(tmp_path)


def test_the_fingerprint_is_the_contents(tmp_path: Path) -> None:
    file = write(tmp_path / "kmod-harness.toml", "cpus = 2\n")
    first = fingerprint(tmp_path)
    file.write_text("cpus = 3\n")
    second = fingerprint(tmp_path)
    file.write_text("cpus = 2\n")
    assert first != second
    assert fingerprint(tmp_path) == first
    assert str(file) in first
