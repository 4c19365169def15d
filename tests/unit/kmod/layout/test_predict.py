"""Where the kernel puts a module's sections, by its rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.kmod.elf.module import KernelModule, Section
from kmod_harness.kmod.elf.symbol_table import TableSymbol
from kmod_harness.kmod.layout.predict import (
    Layout,
    UnplaceableSection,
    predict_layout,
    release_of,
)
from kmod_harness.kmod.link.exports import percpu_address
from kmod_harness.kmod.symbols.symbol_files import KallsymsEntry
from kmod_harness.releases.release import UnsupportedRelease

WRITE, ALLOC, EXEC = 1, 2, 4
GENERATIONS = [(6, 1), (6, 12)]


def section(index: int, name: str, flags: int, size: int = 64, alignment: int = 16, **more: Any) -> Section:
    return Section(name, index, more.pop("type", "SHT_PROGBITS"), flags, 0, size, alignment, 0, **more)


def module(
    sections: list[Section], symbols: tuple[TableSymbol, ...] = (), strings: bytes = b"\0"
) -> KernelModule:
    """A module of these sections (numbered from 1) and symbols; the two tables are added behind them."""
    null = section(0, "", 0, 0, 0, type="SHT_NULL")
    tables = [
        section(
            len(sections) + 1, ".symtab", 0, 24 * len(symbols), 8, type="SHT_SYMTAB", link=len(sections) + 2
        ),
        section(len(sections) + 2, ".strtab", 0, len(strings), 1, type="SHT_STRTAB"),
    ]
    return KernelModule(
        path=Path("m.ko"), name="m", vermagic="6.1.192 SMP ", depends=(), parameters={},
        parameter_descriptions={}, license="GPL", description="", aliases=(), modinfo=(),
        sections=(null, *sections, *tables), symbols=(), undefined=(), exports={}, versions={},
        has_debug_info=False, build_id="", data=strings, symbol_table=symbols,
    )  # fmt: skip


def symbols_in(*placed: tuple[str, int]) -> tuple[tuple[TableSymbol, ...], bytes]:
    strings, table = b"\0", [TableSymbol("", 0, 0, 0, "NOTYPE", "LOCAL", 0, 0, 0)]
    for name, index in placed:
        table.append(TableSymbol(name, len(strings), 0, 0, "FUNC", "LOCAL", index, 2, 0))
        strings += name.encode() + b"\0"
    return tuple(table), strings


def offsets(layout: Layout) -> dict[str, tuple[str, int]]:
    return {placed.section.name: (placed.block, placed.offset) for placed in layout.placed}


ZOO = module(
    [
        section(1, ".text", ALLOC | EXEC, 100),
        section(2, ".rodata", ALLOC, 10),
        section(3, ".data", ALLOC | WRITE, 20),
        section(4, ".data..ro_after_init", ALLOC | WRITE, 8, 32),
        section(5, "__jump_table", ALLOC | WRITE, 48, 8),
        section(6, ".init.text", ALLOC | EXEC, 50),
        section(7, ".init.data", ALLOC | WRITE, 4, 4),
        section(8, ".exit.text", ALLOC | EXEC, 7, 1),
        section(9, ".modinfo", ALLOC, 300, 1),
        section(10, "__versions", ALLOC, 128, 32),
        section(11, ".data..percpu", ALLOC | WRITE, 40, 64),
        section(12, ".comment", 0, 90, 1),
    ]
)


def test_up_to_6_3_core_and_init_are_one_block_each_with_a_page_boundary_at_each_permission() -> None:
    layout = predict_layout(ZOO, (6, 3), kallsyms=False)
    assert offsets(layout) == {
        ".text": ("core", 0),
        ".exit.text": ("core", 100),
        ".rodata": ("core", 4096),
        ".data..ro_after_init": ("core", 8192),
        "__jump_table": ("core", 8200),
        ".data": ("core", 12288),
        ".init.text": ("init", 0),
        ".init.data": ("init", 4096),
    }
    assert layout.blocks == {"core": 16384, "init": 8192}
    core = [(r.name, r.start, r.end, r.writable, r.executable, r.sealed) for r in layout.regions[:4]]
    assert core == [
        ("text", 0, 4096, False, True, False),
        ("rodata", 4096, 8192, False, False, False),
        ("ro_after_init", 8192, 12288, False, False, True),
        ("data", 12288, 16384, True, False, False),
    ]


def test_from_6_4_on_each_memory_type_is_a_block() -> None:
    layout = predict_layout(ZOO, (6, 4), kallsyms=False)
    assert offsets(layout) == {
        ".text": ("text", 0),
        ".exit.text": ("text", 100),
        ".rodata": ("rodata", 0),
        ".data..ro_after_init": ("ro_after_init", 0),
        "__jump_table": ("ro_after_init", 8),
        ".data": ("data", 0),
        ".init.text": ("init_text", 0),
        ".init.data": ("init_data", 0),
    }
    assert {block: size for block, size in layout.blocks.items() if size} == dict.fromkeys(
        ("text", "data", "rodata", "ro_after_init", "init_text", "init_data"), 4096
    )
    assert list(layout.blocks)[:2] == ["text", "data"], "the order of allocation"
    assert [r.executable for r in layout.regions if r.block == "init_text"] == [True]


@pytest.mark.parametrize("release", GENERATIONS)
def test_modinfo_versions_and_per_cpu_data_have_no_place(release: tuple[int, int]) -> None:
    layout = predict_layout(ZOO, release)
    assert not {".modinfo", "__versions", ".data..percpu", ".comment"} & set(offsets(layout))
    assert layout.percpu == 11


@pytest.mark.parametrize(("release", "block"), [((6, 1), "init"), ((6, 12), "init_text")])
def test_without_module_unload_exit_code_goes_with_init(release: tuple[int, int], block: str) -> None:
    placed = predict_layout(ZOO, release, unload=False).place(".exit.text")
    assert placed is not None
    assert (placed.block, placed.offset) == (block, 50)


@pytest.mark.parametrize("release", GENERATIONS)
def test_a_section_without_bytes_still_aligns_what_follows(release: tuple[int, int]) -> None:
    sections = [section(1, ".a", ALLOC, 1, 1), section(2, ".b", ALLOC, 0, 64), section(3, ".c", ALLOC, 4, 1)]
    placed = predict_layout(module(sections), release, kallsyms=False).place(".c")
    assert placed is not None
    assert placed.offset % 4096 == 64


def test_a_block_that_is_not_allocated_is_at_address_zero() -> None:
    layout = predict_layout(module([section(1, ".init.rodata", ALLOC, 0, 8)]), (6, 12), kallsyms=False)
    assert not any(layout.blocks.values())
    assert layout.addresses({}) == {1: 0}


def test_a_block_without_anchor_gives_no_addresses() -> None:
    layout = predict_layout(ZOO, (6, 1))
    assert set(layout.addresses({"core": 0x1000})) == {1, 2, 3, 4, 5, 8}


def test_symbols_of_core_sections_are_kept_and_their_tables_end_the_data() -> None:
    table, strings = symbols_in((".text.f", 1), ("d", 3), ("i", 6), ("p", 11), ("info", 9), ("undefined", 0))
    layout = predict_layout(replace_tables(ZOO, table, strings), (6, 1))
    tables = layout.core_kallsyms
    assert tables is not None
    assert tables.indices == (0, 1, 2, 4)
    assert (tables.symbols, tables.strings) == (16384, 16384 + 4 * 24)
    assert tables.types == tables.strings + 1 + len(".text.f") + 1 + 2 + 2
    assert (tables.end, layout.blocks["core"]) == (tables.types + 4, 20480)
    init = layout.init_kallsyms
    assert init is not None
    assert (init.symbols, init.strings) == (8192, 8192 + 24 * len(table))
    assert init.structure == 8192 + 24 * len(table) + len(strings) + -len(strings) % 8
    assert init.end == init.structure + 32 + len(table)


def test_without_kallsyms_all_only_functions_are_kept() -> None:
    table, strings = symbols_in(("f", 1), ("d", 3), ("p", 11), ("e", 8))
    tables = predict_layout(replace_tables(ZOO, table, strings), (6, 1), kallsyms_all=False).core_kallsyms
    assert tables is not None
    assert tables.indices == (0, 1, 4)


def test_a_livepatch_keeps_every_symbol() -> None:
    table, strings = symbols_in(("f", 1), ("i", 6), ("undefined", 0))
    patch = replace(replace_tables(ZOO, table, strings), modinfo=(("livepatch", "Y"),))
    tables = predict_layout(patch, (6, 1)).core_kallsyms
    assert tables is not None
    assert tables.indices == (0, 1, 2, 3)


def replace_tables(of: KernelModule, table: tuple[TableSymbol, ...], strings: bytes) -> KernelModule:
    return module([s for s in of.sections if s.index and s.index <= 12], table, strings)


def test_a_writable_and_executable_section_is_refused_as_the_kernel_does() -> None:
    with pytest.raises(UnplaceableSection, match=r"\.wx is writable and executable"):
        predict_layout(module([section(1, ".wx", ALLOC | WRITE | EXEC)]))


def test_allocation_tags_have_a_place_of_their_own_from_6_13_on() -> None:
    tagged = module([section(1, "alloc_tags", ALLOC | WRITE, 80)])
    assert predict_layout(tagged, (6, 12)).place("alloc_tags") is not None
    with pytest.raises(UnplaceableSection, match="alloc_tags does not follow"):
        predict_layout(tagged, (6, 13))


@pytest.mark.parametrize(
    ("vermagic", "release"), [("6.12-rc1 SMP", (6, 12)), ("5.10.0-9-amd64 SMP", (5, 10))]
)
def test_the_release_is_that_of_the_vermagic(vermagic: str, release: tuple[int, int]) -> None:
    assert release_of(replace(ZOO, vermagic=vermagic)) == release


@pytest.mark.parametrize("vermagic", ["", "next SMP", "4.19.1 SMP"])
def test_a_release_that_is_not_known_here_is_an_error(vermagic: str) -> None:
    with pytest.raises(UnsupportedRelease):
        predict_layout(replace(ZOO, vermagic=vermagic))


def test_the_per_cpu_address_is_what_most_of_kallsyms_agrees_on() -> None:
    table = tuple(
        TableSymbol(n, 1, v, 8, "OBJECT", "LOCAL", 11, 1, 0) for n, v in [("a", 0), ("b", 8), ("c", 16)]
    )
    with_symbols = replace_tables(ZOO, table, b"\0a\0")
    layout = predict_layout(with_symbols, (6, 1))
    shown = [KallsymsEntry(0x34000 + s.value, "a", s.name, "m") for s in table]
    shown.append(KallsymsEntry(0xFFFFFFFFC0001000, "t", "b", "m"))
    assert percpu_address(with_symbols, layout, shown) == 0x34000
    assert percpu_address(with_symbols, layout, []) is None


FLAGS = st.sampled_from([0, ALLOC, ALLOC | WRITE, ALLOC | EXEC])
NAMES = st.sampled_from(
    [".text", ".data", ".init.x", ".exit.x", ".rodata", "__jump_table", ".data..ro_after_init"]
)
SECTIONS = st.lists(
    st.tuples(NAMES, FLAGS, st.integers(0, 9000), st.sampled_from([0, 1, 2, 8, 32, 64, 4096]))
)


@given(SECTIONS, st.sampled_from(GENERATIONS), st.booleans(), st.booleans())
def test_sections_never_overlap_and_lie_in_a_region_of_their_own_permission(
    chosen: list[tuple[str, int, int, int]], release: tuple[int, int], unload: bool, kallsyms: bool
) -> None:
    sections = [section(i, *fields) for i, fields in enumerate(chosen, 1)]
    layout = predict_layout(module(sections, *symbols_in()), release, unload=unload, kallsyms=kallsyms)
    kept = [placed for placed in layout.placed if placed.section.index <= len(sections)]
    assert [placed.section for placed in kept] == [s for s in sections if s.allocated]
    for block, size in layout.blocks.items():
        assert size % 4096 == 0
        end = 0
        for placed in sorted(
            (p for p in layout.placed if p.block == block), key=lambda p: (p.offset, p.section.size)
        ):
            assert placed.offset >= end
            assert placed.offset % (placed.section.alignment or 1) == 0
            end = placed.offset + placed.section.size
        assert end <= size
    for placed in kept:
        homes = [
            r
            for r in layout.regions
            if r.block == placed.block and r.start <= placed.offset < r.end and placed.section.size
        ]
        assert len(homes) == bool(placed.section.size)
        for home in homes:
            assert placed.offset + placed.section.size <= home.end
            assert home.executable == placed.section.executable
            assert (home.writable or home.sealed) == bool(
                placed.section.flags & WRITE
            ) or placed.section.name in (
                "__jump_table",
                ".data..ro_after_init",
            )
