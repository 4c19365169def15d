"""Where a module's sources lie, by the debug information that the compiler wrote."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kmod_harness.kmod.elf.compile_directory import compile_directory

pytestmark = pytest.mark.needs("binutils", "gcc")


def compiled(directory: Path, *flags: str) -> bytes:
    """Returns a relocatable file of two sources, compiled as kbuild does from 6.13 on: by relative paths."""
    (directory / "driver").mkdir()
    for name in ("one", "two"):
        (directory / f"driver/{name}.c").write_text(f"int {name}(void) {{ return 0; }}\n")
        subprocess.run(
            ["gcc", *flags, "-c", "-o", f"{name}.o", f"driver/{name}.c"], cwd=directory, check=True
        )
    subprocess.run(["ld", "-r", "-o", "driver.ko", "one.o", "two.o"], cwd=directory, check=True)
    return (directory / "driver.ko").read_bytes()


@pytest.mark.parametrize("flags", [("-gdwarf-5",), ("-gdwarf-4",), ("-gdwarf-5", "-gz=zlib")])
def test_it_is_that_of_the_compiler(tmp_path: Path, flags: tuple[str, ...]) -> None:
    assert compile_directory(compiled(tmp_path, *flags)) == str(tmp_path)


def test_without_debug_information_nobody_knows(tmp_path: Path) -> None:
    assert compile_directory(compiled(tmp_path)) == ""


def test_what_is_no_elf_file_has_none() -> None:
    assert compile_directory(b"") == compile_directory(b"\x7fELF" + bytes(60)) == ""
