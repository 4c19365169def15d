"""Modules that are wrong on purpose, in the one way that was meant."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from hypothesis import given, settings
from hypothesis import strategies as st

from kmod_harness.errors import Misuse
from kmod_harness.explain.observe import crafted_modules

SOURCE = r"""
extern int _printk(const char *, ...);
extern int other(void);
int known(void) { return other(); }
int init_module(void) { return _printk("known") + known(); }
"""

pytestmark = pytest.mark.needs("gcc")


@pytest.fixture(scope="module")
def ko(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory: Path = tmp_path_factory.mktemp("crafted_modules")
    (directory / "source.c").write_text(SOURCE)
    command = ["gcc", "-w", "-O0", "-c", "-o", str(directory / "a.o"), str(directory / "source.c")]
    subprocess.run(command, check=True)
    return (directory / "a.o").read_bytes()


def symbols(data: bytes) -> list[tuple[str, bool]]:
    """Each symbol's name and whether it is undefined, in the table's order."""
    table = ELFFile(io.BytesIO(data)).get_section_by_name(".symtab")
    assert isinstance(table, SymbolTableSection)
    return [(symbol.name, symbol["st_shndx"] == "SHN_UNDEF") for symbol in table.iter_symbols()]


def test_the_type_alone_changes(ko: bytes) -> None:
    changed = crafted_modules.with_elf_type(ko, crafted_modules.ET_EXEC)
    assert crafted_modules.elf_header(ko) == (1, 0, 0)
    assert crafted_modules.elf_header(changed) == (2, 0, 0)
    assert [at for at, (a, b) in enumerate(zip(ko, changed, strict=True)) if a != b] == [16]


@settings(deadline=None)
@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,60}", fullmatch=True))
def test_one_undefined_symbol_gets_another_name_of_any_length(ko: bytes, name: str) -> None:
    changed = symbols(crafted_modules.with_undefined_symbol_renamed(ko, "_printk", name))
    expected = [(name, True) if symbol == ("_printk", True) else symbol for symbol in symbols(ko)]
    assert changed == expected


def test_sections_and_relocations_stay_as_they_are(ko: bytes) -> None:
    changed = ELFFile(
        io.BytesIO(crafted_modules.with_undefined_symbol_renamed(ko, "_printk", "a_much_longer_name"))
    )
    for before in ELFFile(io.BytesIO(ko)).iter_sections():
        after = changed.get_section_by_name(before.name)
        if before.name not in (".symtab", ".strtab"):
            assert after.data() == before.data(), before.name


@pytest.mark.parametrize("name", ["known", "nowhere", ""])
def test_what_is_not_an_undefined_symbol_cannot_be_renamed(ko: bytes, name: str) -> None:
    with pytest.raises(Misuse):
        crafted_modules.with_undefined_symbol_renamed(ko, name, "x")


def test_replaced_bytes_keep_the_files_size(ko: bytes) -> None:
    changed = crafted_modules.with_bytes_replaced(ko, b"known\0", b"k\0")
    assert len(changed) == len(ko) and b"known\0" not in changed
    with pytest.raises(Misuse):
        crafted_modules.with_bytes_replaced(ko, b"known", b"longer than known")
    with pytest.raises(Misuse):
        crafted_modules.with_bytes_replaced(ko, b"not in it", b"x")
