"""What a pushed program needs, and what of it the guest lacks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.kmod.elf.programs import ProgramFileError, ProgramNeeds, missing_in, program_needs

pytestmark = pytest.mark.needs("gcc")


def build(directory: Path, *flags: str) -> bytes:
    (directory / "p.c").write_text("int main(void) { return 0; }")
    subprocess.run(["gcc", "-o", directory / "p", directory / "p.c", *flags], check=True)
    return (directory / "p").read_bytes()


def test_a_dynamic_program_needs_its_loader_and_libraries(tmp_path: Path) -> None:
    needs = program_needs(build(tmp_path, "-Wl,--no-as-needed", "-lm", "-Wl,-rpath,/opt/lib"))
    assert (needs.kind, needs.interpreter, needs.machine) == (
        "dynamic", "/lib64/ld-linux-x86-64.so.2", "EM_X86_64",
    )  # fmt: skip
    assert needs.libraries == ("libm.so.6", "libc.so.6")
    assert needs.search == ("/opt/lib",)
    assert missing_in(needs, ["/bin/sh"]) == ("/lib64/ld-linux-x86-64.so.2", "libm.so.6", "libc.so.6")
    there = ["/usr/lib64/ld-linux-x86-64.so.2", "/opt/lib/libm.so.6", "/lib/x86_64-linux-gnu/libc.so.6"]
    assert missing_in(needs, there) == ()


def test_a_static_program_needs_nothing(tmp_path: Path) -> None:
    needs = program_needs(build(tmp_path, "-static"))
    assert (needs.kind, missing_in(needs, [])) == ("static", ())


@pytest.mark.parametrize(
    ("head", "interpreter", "command", "missing"),
    [
        (b"#!/bin/sh\necho", "/bin/sh", "", ()),
        (b"#! /usr/bin/sh -e\n", "/usr/bin/sh", "", ()),
        (b"#!/bin/bash\n", "/bin/bash", "", ("/bin/bash",)),
        (b"#!/bin/sh\r\n", "/bin/sh\r", "", ("/bin/sh\r",)),
        (b"#!/usr/bin/env python3\n", "/usr/bin/env", "python3", ("python3",)),
        (b"#!/usr/bin/env -S A=1 sh -e\n", "/usr/bin/env", "sh", ()),
        (b"#!", "", "", ()),
    ],
)
def test_a_script_needs_its_interpreter(head: bytes, interpreter: str, command: str, missing) -> None:
    needs = program_needs(head)
    assert (needs.kind, needs.interpreter, needs.command) == ("script", interpreter, command)
    assert missing_in(needs, ["/bin/sh", "/usr/bin/env"]) == missing


def test_other_files_need_nothing() -> None:
    assert program_needs(b"echo hello\n") == ProgramNeeds("other")


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda tail: b"\x7fELF\x02\x01\x01" + tail))
def test_any_bytes_give_needs_or_the_typed_error(data: bytes) -> None:
    try:
        missing_in(program_needs(data), [])
    except ProgramFileError:
        assert data.startswith(b"\x7fELF")


def test_a_cut_program_is_needs_or_the_typed_error(tmp_path: Path) -> None:
    data = build(tmp_path)
    for size in range(4, len(data), 211):
        try:
            assert program_needs(data[:size]).kind in ("static", "dynamic")
        except ProgramFileError as error:
            assert "damaged" in str(error)
