"""Given a .ko, when gdb is to read it, then no section of it claims an address."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from kmod_harness.kmod.elf.for_gdb import file_for_gdb, without_section_addresses
from kmod_harness.kmod.elf.module import read_module

SOURCE = """
.data
.long 1
.section .gnu.linkonce.this_module,"aw"
.zero 1024
.section .modinfo,"a"
.asciz "name=sample"
.asciz "vermagic=6.12.118 SMP"
"""
SCRIPT = "SECTIONS { .modinfo 0 : { *(.modinfo) } .data 0x80 : { *(.data) } }"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A module whose .data has address 0x80, as ld leaves it by a script that names none for it."""
    (tmp_path / "sample.s").write_text(SOURCE)
    (tmp_path / "module.lds").write_text(
        "SECTIONS { .modinfo 0 : { *(.modinfo) } .data 0x80 : { *(.data) } }"
    )
    for command in ("as sample.s -o sample.o", "ld -r -T module.lds sample.o -o sample.ko"):
        subprocess.run(command.split(), cwd=tmp_path, check=True)
    return tmp_path / "sample.ko"


def addresses(data: bytes, path: Path) -> dict[str, int]:
    path.write_bytes(data)
    return {section.name: section.address for section in read_module(path).sections}


def test_a_section_with_an_address_loses_it_and_nothing_else_changes(sample: Path, tmp_path: Path) -> None:
    before = sample.read_bytes()
    assert addresses(before, tmp_path / "before.ko")[".data"] == 0x80
    after = without_section_addresses(before)
    assert set(addresses(after, tmp_path / "after.ko").values()) == {0}
    assert len(after) == len(before)
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_gdb_gets_a_copy_of_such_a_file_and_of_a_compressed_one(sample: Path, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copy = file_for_gdb(read_module(sample), copies)
    assert copy == copies / "sample.ko"
    assert copy.read_bytes() == without_section_addresses(sample.read_bytes())
    packed = tmp_path / "packed.ko.gz"
    packed.write_bytes(gzip.compress(copy.read_bytes()))
    assert file_for_gdb(read_module(packed), copies).read_bytes() == copy.read_bytes()


def test_of_any_other_module_it_gets_the_file_itself(sample: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.ko"
    plain.write_bytes(without_section_addresses(sample.read_bytes()))
    assert file_for_gdb(read_module(plain), tmp_path / "copies") == plain
    assert not (tmp_path / "copies").exists()
