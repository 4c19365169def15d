"""Debug information in a file of its own is found by build-id, and used as if the module had it."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from kmod_harness.kmod.elf.for_gdb import file_for_gdb
from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.kmod.elf.split_debug import debug_file_of
from kmod_harness.kmod.symbols.symbolizer import Symbolizer

pytestmark = pytest.mark.needs("gcc", "binutils")

SOURCE = r"""
char modinfo[] __attribute__((section(".modinfo"))) = "name=tiny\0vermagic=6.1.0 SMP ";
char this_module[64] __attribute__((section(".gnu.linkonce.this_module")));
int counted(int n)
{
	return n + 1;
}
"""


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    (tmp_path / "tiny.c").write_text(SOURCE)
    run(tmp_path, "gcc -g -c tiny.c -o tiny.o")
    run(tmp_path, "ld -r --build-id tiny.o -o whole.ko")
    return tmp_path / "whole.ko"


def run(directory: Path, command: str) -> None:
    subprocess.run(command.split(), cwd=directory, check=True)


def stripped(whole: Path, path: Path) -> KernelModule:
    path.parent.mkdir(parents=True, exist_ok=True)
    run(whole.parent, f"strip --strip-debug whole.ko -o {path}")
    return read_module(path)


def test_a_whole_module_needs_none(whole: Path) -> None:
    assert read_module(whole).has_debug_info and debug_file_of(read_module(whole)) is None


@pytest.mark.parametrize(
    ("ko", "debug"),
    [
        ("here/tiny.ko", "here/tiny.ko.debug"),
        ("here/tiny.ko", "here/.debug/tiny.ko.debug"),
        ("lib/modules/6.1.0/kernel/tiny.ko", "usr/lib/debug/lib/modules/6.1.0/kernel/tiny.ko"),
        ("usr/lib/modules/6.1.0/kernel/tiny.ko", "usr/lib/debug/lib/modules/6.1.0/kernel/tiny.ko.debug"),
    ],
)
def test_it_is_found_beside_and_in_the_tree(whole: Path, tmp_path: Path, ko: str, debug: str) -> None:
    module = stripped(whole, tmp_path / ko)
    assert not module.has_debug_info and debug_file_of(module) is None
    (tmp_path / debug).parent.mkdir(parents=True, exist_ok=True)
    run(tmp_path, f"strip --only-keep-debug whole.ko -o {debug}")
    assert debug_file_of(module) == tmp_path / debug


def test_that_of_another_build_is_not_taken(whole: Path, tmp_path: Path) -> None:
    module = stripped(whole, tmp_path / "tiny.ko")
    run(tmp_path, "ld -r --build-id=0x1234567890 tiny.o -o tiny.ko.debug")
    assert debug_file_of(module) is None
    (tmp_path / "tiny.ko.debug").write_bytes(b"no ELF")
    assert debug_file_of(module) is None


def test_source_lines_and_gdb_have_it(whole: Path, tmp_path: Path) -> None:
    module = stripped(whole, tmp_path / "tiny.ko")
    assert Symbolizer(None, [module]).lines("counted", 0, module="tiny") == ()
    run(tmp_path, "strip --only-keep-debug whole.ko -o tiny.ko.debug")
    (line,) = Symbolizer(None, [module]).lines("counted", 0, module="tiny")
    assert (line.function, Path(line.path).name, line.line) == ("counted", "tiny.c", 5)
    assert b".debug_info" in file_for_gdb(module, tmp_path / "copies").read_bytes()


def test_a_compressed_module_has_source_lines(whole: Path, tmp_path: Path) -> None:
    packed = tmp_path / "tiny.ko.gz"
    packed.write_bytes(gzip.compress(whole.read_bytes()))
    (line,) = Symbolizer(None, [read_module(packed)]).lines("counted", 0, module="tiny")
    assert line.line == 5
