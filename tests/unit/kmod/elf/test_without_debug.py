"""A module without debug information: all that the kernel looks at is as it was."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness.kmod.elf.module import KernelModule, parse_module, read_module
from kmod_harness.kmod.elf.without_debug import without_debug

SOURCE = """\
int counter = 3;
int demo_read(int *at) { return *at + counter; }
__attribute__((section(".init.text"))) int demo_init(void) { return demo_read(&counter); }
char __this[8] __attribute__((section(".gnu.linkonce.this_module"), aligned(64)));
const char __info[] __attribute__((section(".modinfo"))) = "name=demo";
"""
pytestmark = pytest.mark.needs("binutils", "gcc")


def built(directory: Path, *flags: str) -> KernelModule:
    (directory / "demo.c").write_text(SOURCE)
    subprocess.run(["gcc", "-g", *flags, "-c", "demo.c", "-o", "demo.o"], cwd=directory, check=True)
    subprocess.run(["ld", "-r", "demo.o", "-o", "demo.ko"], cwd=directory, check=True)
    return read_module(directory / "demo.ko")


@pytest.mark.parametrize("flags", [(), ("-gz",)])
def test_only_debug_sections_are_empty(tmp_path: Path, flags: tuple[str, ...]) -> None:
    module = built(tmp_path, *flags)
    data = without_debug(module)
    left = parse_module(data, tmp_path / "demo.ko")

    assert len(data) < len(module.data)
    assert not left.has_debug_info
    assert left.symbol_table == module.symbol_table
    assert left.modinfo == module.modinfo
    for before, after in zip(module.sections, left.sections, strict=True):
        assert after.name == before.name
        assert after.offset % max(after.alignment, 1) == 0
        is_debug = ".debug" in before.name
        assert left.content(after) == (b"" if is_debug else module.content(before))
        if not is_debug:
            assert replace(after, offset=0) == replace(before, offset=0)
    (tmp_path / "left.ko").write_bytes(data)
    read = subprocess.run(["readelf", "-SsW", tmp_path / "left.ko"], capture_output=True, check=True)
    assert read.stderr == b""


def test_a_signed_module_stays_as_it_is(tmp_path: Path) -> None:
    module = built(tmp_path)
    signature = struct.pack("<8xI", 0) + b"~Module signature appended~\n"
    signed = parse_module(module.data + signature, module.path)
    assert without_debug(signed) == signed.data


def test_a_module_without_debug_information_is_its_own_file(tmp_path: Path) -> None:
    module = built(tmp_path, "-g0")
    assert without_debug(module) == module.data
