"""What is pushed, and what a program needs of the image, decided before the boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.cli.run.pushed import (
    DIRECTORY,
    Push,
    check_program,
    parse_push,
    resolve_command,
    visible_paths,
)
from kmod_harness.errors import Misuse

IMAGE = {
    "/bin/busybox": "",
    "/bin/sh": "busybox",
    "/bin/broken": "/nowhere",
    "/bin/circle": "circle",
    "/usr/lib/libc.so.6": "",
    "/lib": "usr/lib",
    "/lib64": "/lib",
}


def _script(directory: Path, first_line: str, mode: int = 0o755) -> Path:
    path = directory / "test.sh"
    path.write_text(f"{first_line}\ntrue\n")
    path.chmod(mode)
    return path


def test_a_file_goes_where_it_is_told_or_to_the_common_place(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.touch()
    assert parse_push(str(file)) == Push(file, f"{DIRECTORY}/data")
    assert parse_push(f"{file}:/opt/other") == Push(file, "/opt/other")
    assert parse_push(f"{file}:/opt/") == Push(file, "/opt/data")


def test_a_colon_may_be_part_of_the_hosts_name(tmp_path: Path) -> None:
    file = tmp_path / "a:b"
    file.touch()
    assert parse_push(str(file)) == Push(file, f"{DIRECTORY}/a:b")


def test_a_push_that_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="there is no"):
        parse_push(str(tmp_path / "nosuch"))
    with pytest.raises(Misuse, match="absolute"):
        parse_push(f"{tmp_path}:relative")


def test_a_name_is_the_guests_program() -> None:
    assert resolve_command(["sh", "-c", "true"], IMAGE) == (["sh", "-c", "true"], None)
    with pytest.raises(Misuse, match="no program bash"):
        resolve_command(["bash"], IMAGE)


def test_nothing_is_refused_when_the_image_cannot_be_read() -> None:
    assert resolve_command(["bash"], {}) == (["bash"], None)
    assert resolve_command(["/opt/x"], {}) == (["/opt/x"], None)


def test_an_absolute_path_that_both_have_is_the_guests() -> None:
    assert resolve_command(["/bin/sh"], IMAGE) == (["/bin/sh"], None)


def test_a_relative_path_is_pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = _script(tmp_path, "#!/bin/sh")
    monkeypatch.chdir(tmp_path)
    argv, push = resolve_command(["./test.sh", "a b"], IMAGE)
    assert argv == [f"{DIRECTORY}/test.sh", "a b"]
    assert push is not None
    assert push.source.resolve() == script
    with pytest.raises(Misuse, match="not there"):
        resolve_command(["./other.sh"], IMAGE)


def test_an_absolute_path_that_only_the_host_has_is_pushed(tmp_path: Path) -> None:
    script = _script(tmp_path, "#!/bin/sh")
    assert resolve_command([str(script)], IMAGE)[1] == Push(script, f"{DIRECTORY}/test.sh")


def test_a_script_with_a_known_interpreter_passes(tmp_path: Path) -> None:
    check_program(_script(tmp_path, "#!/bin/sh -e"), IMAGE)


@pytest.mark.parametrize(
    ("first_line", "missing"),
    [("#!/bin/bash", "/bin/bash"), ("#!/usr/bin/env python3", "python3"), ("#!/bin/broken", "/bin/broken")],
)
def test_a_missing_interpreter_is_named(tmp_path: Path, first_line: str, missing: str) -> None:
    with pytest.raises(Misuse, match=missing):
        check_program(_script(tmp_path, first_line), IMAGE)


def test_an_interpreter_that_is_pushed_too_is_there(tmp_path: Path) -> None:
    check_program(_script(tmp_path, "#!/opt/python3"), IMAGE, [Push(tmp_path, "/opt/python3")])


def test_what_no_kernel_executes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="neither an ELF program nor a script"):
        check_program(_script(tmp_path, "echo hello"), {})
    with pytest.raises(Misuse, match="not executable"):
        check_program(_script(tmp_path, "#!/bin/sh", 0o644), IMAGE)


def test_symlinks_are_followed_and_dangling_ones_are_not_there() -> None:
    visible = visible_paths(IMAGE)
    assert {"/bin/sh", "/lib/libc.so.6", "/lib64/libc.so.6", "/usr/lib/libc.so.6"} <= visible
    assert not {"/bin/broken", "/bin/circle"} & visible


@pytest.mark.parametrize("text", [".", "..", "sub/.", "./"])
def test_what_lies_in_a_directory_without_a_name_goes_beside_the_command(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_push(text).target == "/kmod-harness/pushed"
    assert parse_push("sub").target == "/kmod-harness/pushed/sub"
