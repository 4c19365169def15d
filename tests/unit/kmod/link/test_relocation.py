"""Relocation: every type the kernel knows, against GNU ld; and what the kernel refuses."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.kmod.layout.predict import Layout, predict_layout
from kmod_harness.kmod.link.exports import kernel_exports, loaded_exports, module_exports, resolver
from kmod_harness.kmod.link.relocation import (
    FORMULAS,
    LinkedModule,
    LinkError,
    NonZeroTarget,
    RelocationOverflow,
    UnknownRelocation,
    UnresolvedSymbol,
    link,
    relocations_of,
)
from kmod_harness.kmod.symbols.symbol_files import parse_kallsyms, parse_system_map

#: A module in assembler: `.text` uses every relocation type, `.data` points at core, init and the kernel.
SOURCE = r"""
.section .modinfo, "a"
    .asciz "name=tiny"
    .asciz "vermagic=6.1.192 SMP "
.section .gnu.linkonce.this_module, "aw"
    .zero 24
    .quad tiny_init
    .zero 8
.text
.globl tiny_exported
tiny_exported:
    call _printk
    call helper
    movq $local + 8, %rax
    movq %gs:current_task(%rip), %rax
    movq counter - 4(%rip), %rax
    .reloc ., R_X86_64_NONE, _printk
    nop
helper:
    ret
.section .data, "aw"
local:
    .quad helper
    .quad _printk - 16
    .quad _printk - .
    .quad tiny_init
    .long current_task
    .long local - .
.weak maybe
    .quad maybe
.section .bss, "aw", @nobits
counter: .zero 64
.section .init.text, "ax"
tiny_init:
    call helper
    ret
.section __ksymtab, "a"
__ksymtab_tiny_exported:
    .long tiny_exported - .
    .long 0, 0
.section .comment.refs
    .quad local
"""
PRINTK, CURRENT = 0xFFFFFFFF81234560, 0x1FB80
KNOWN = {
    "_printk": (PRINTK, "vmlinux"),
    "current_task": (CURRENT, "per-CPU"),
    "low": (0xFFFFFFFF, "other"),
    "far": (0x123456789, "other"),
}
CORE, INIT = 0xFFFFFFFFC0100000, 0xFFFFFFFFC0203000

pytestmark = pytest.mark.needs("binutils", "gcc")


def assemble(directory: Path, source: str) -> KernelModule:
    (directory / "tiny.s").write_text(source)
    subprocess.run(["gcc", "-c", "-o", directory / "tiny.ko", directory / "tiny.s"], check=True)
    return read_module(directory / "tiny.ko")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> KernelModule:
    return assemble(tmp_path_factory.mktemp("tiny"), SOURCE)


@pytest.fixture(scope="module")
def layout(tiny: KernelModule) -> Layout:
    return predict_layout(tiny)


@pytest.fixture(scope="module")
def linked(tiny: KernelModule, layout: Layout) -> LinkedModule:
    return link(tiny, layout, layout.addresses({"core": CORE, "init": INIT}), KNOWN.get)


def linked_by_ld(
    module: KernelModule, addresses: dict[int, int], printk: int, current: int
) -> dict[str, bytes]:
    """Section name -> bytes in the executable that GNU ld makes with each section at its address."""
    directory = module.path.parent
    lines = [
        f"{s.name} {addresses[s.index]:#x} : {{ *({s.name}) }}"
        for s in module.sections
        if s.index in addresses and s.name not in (".symtab", ".strtab")
    ]
    (directory / "script").write_text(f"SECTIONS {{ {' '.join(lines)} /DISCARD/ : {{ *(.modinfo) }} }}")
    symbols = [f"--defsym=_printk={printk:#x}", f"--defsym=current_task={current:#x}"]
    command = ["ld", "-static", "-e", "0", "--no-check-sections", "--no-relax", "-z", "max-page-size=16"]
    out = directory / "tiny.linked"
    subprocess.run(
        [*command, *symbols, "-T", directory / "script", "-o", out, module.path],
        check=True,
        capture_output=True,
    )
    with out.open("rb") as file:
        return {s.name: s.data() for s in ELFFile(file).iter_sections() if s.header.sh_type != "SHT_NOBITS"}


def test_the_source_uses_every_type_the_kernel_knows(tiny: KernelModule, layout: Layout) -> None:
    assert {relocation.type for relocation in relocations_of(tiny, layout)} == set(FORMULAS)


PAGES = st.integers(0, 0x2000).map(lambda page: page * 4096)


@given(core=PAGES, gap=PAGES, printk=st.integers(0, 0x3FFFFFFF), current=st.integers(0, 0x3FFF0000))
@settings(max_examples=15, deadline=None)
def test_every_byte_is_what_gnu_ld_writes(
    tiny: KernelModule, layout: Layout, core: int, gap: int, printk: int, current: int
) -> None:
    core += 0xFFFFFFFFC0000000
    addresses = layout.addresses({"core": core, "init": core + layout.blocks["core"] + gap})
    printk += 0xFFFFFFFF80000000
    known = {"_printk": (printk, "vmlinux"), "current_task": (current, "per-CPU")}
    expected = linked_by_ld(tiny, addresses, printk, current)
    compared = 0
    for section in link(tiny, layout, addresses, known.get).sections:
        if section.section.name in expected and section.section.name not in (".symtab", ".strtab"):
            assert section.data == expected[section.section.name], section.section.name
            compared += 1
    assert compared >= 5


def test_each_relocation_says_where_what_and_to_which_image(linked: LinkedModule) -> None:
    text, data = CORE, linked.symbol_address("local")
    found = {(r.where, r.what.type_name): r for r in linked.relocations}
    call = found[text + 1, "R_X86_64_PLT32"]
    assert (call.bound_to, call.image, call.target, call.what.addend) == ("_printk", "vmlinux", PRINTK, -4)
    assert (call.value, call.size) == ((PRINTK - 4 - (text + 1)) & 0xFFFFFFFF, 4)
    percpu = found[data + 32, "R_X86_64_32"]
    assert (percpu.bound_to, percpu.image, percpu.value) == ("current_task", "per-CPU", CURRENT)
    own = found[data, "R_X86_64_64"]
    assert (own.bound_to, own.image) == (".text", "tiny")
    assert own.value == linked.symbol_address("helper")
    weak = found[data + 40, "R_X86_64_64"]
    assert (weak.bound_to, weak.image, weak.value, weak.target) == ("maybe", "absolute", 0, 0)
    none = next(r for r in linked.relocations if r.what.type == 0)
    assert (none.value, none.size) == (0, 0)


def test_the_bytes_in_the_section_are_the_relocations_values(linked: LinkedModule) -> None:
    for relocation in linked.relocations:
        section = linked.section(relocation.what.section.name)
        assert section is not None
        start = relocation.where - section.address
        assert int.from_bytes(section.data[start : start + relocation.size], "little") == relocation.value


def test_bss_is_zeros_and_sections_that_are_dropped_are_not_linked(linked: LinkedModule) -> None:
    bss = linked.section(".bss")
    assert bss is not None
    assert bss.data == bytes(64)
    assert linked.section(".modinfo") is None
    assert linked.section(".comment.refs") is None


def test_init_symbols_have_addresses_too(linked: LinkedModule) -> None:
    assert linked.symbol_address("tiny_init") == INIT
    with pytest.raises(KeyError, match="no symbol nowhere"):
        linked.symbol_address("nowhere")
    with pytest.raises(KeyError):
        linked.symbol_address("_printk")


def test_without_the_init_blocks_address_what_points_there_is_named_and_left_zero(
    tiny: KernelModule, layout: Layout
) -> None:
    partial = link(tiny, layout, layout.addresses({"core": CORE}), KNOWN.get)
    assert {(r.section.name, r.symbol) for r in partial.unbound} == {
        (".gnu.linkonce.this_module", ".init.text"),
        (".data", ".init.text"),
    }
    assert partial.section(".init.text") is None
    data = partial.section(".data")
    assert data is not None
    assert data.data[24:32] == bytes(8)


PERCPU = SOURCE + '.section .data..percpu, "aw"\nmine: .quad local\n.data\n.quad mine\n'


def test_per_cpu_data_is_bound_as_an_offset_and_its_own_relocations_are_not_applied(tmp_path: Path) -> None:
    module = assemble(tmp_path, PERCPU)
    layout = predict_layout(module)
    assert layout.percpu is not None
    addresses = layout.addresses({"core": CORE, "init": INIT}) | {layout.percpu: 0x34000}
    linked = link(module, layout, addresses, KNOWN.get)
    assert [(r.image, r.value) for r in linked.relocations if r.bound_to == ".data..percpu"] == [
        ("per-CPU", 0x34000)
    ]
    assert not [r for r in linked.relocations if r.what.section.name == ".data..percpu"]
    without = link(module, layout, layout.addresses({"core": CORE, "init": INIT}), KNOWN.get)
    assert [r.symbol for r in without.unbound] == [".data..percpu"]


class TestWhatTheKernelRefuses:
    @pytest.fixture
    def relocate(self, tmp_path: Path) -> Callable[[str], LinkedModule]:
        def relocate(source: str) -> LinkedModule:
            module = assemble(tmp_path, SOURCE + source)
            layout = predict_layout(module)
            return link(module, layout, layout.addresses({"core": CORE, "init": INIT}), KNOWN.get)

        return relocate

    def test_a_type_it_does_not_know(self, relocate: Callable[[str], LinkedModule]) -> None:
        with pytest.raises(UnknownRelocation, match=r"\.text\+0x.*: the kernel knows no relocation type"):
            relocate(".text\nmovq local@GOTPCREL(%rip), %rax\n")

    def test_a_target_that_is_not_zero(self, relocate: Callable[[str], LinkedModule]) -> None:
        with pytest.raises(NonZeroTarget, match="not zero") as error:
            relocate(".data\n.reloc ., R_X86_64_32, local\n.long 0x12\n")
        assert error.value.evidence == "12 00 00 00"

    @pytest.mark.parametrize("what", [".long local", ".reloc ., R_X86_64_32S, tiny_big\n.long 0"])
    def test_a_value_of_more_than_32_bits(self, relocate: Callable[[str], LinkedModule], what: str) -> None:
        with pytest.raises(RelocationOverflow, match="does not fit R_X86_64_32"):
            relocate(f".data\n{what}\n.set tiny_big, 0x80000000\n")

    def test_32_bits_fit_exactly(self, relocate: Callable[[str], LinkedModule]) -> None:
        linked = relocate(".data\n.long low\n")
        assert [(r.value, r.image) for r in linked.relocations if r.bound_to == "low"] == [
            (0xFFFFFFFF, "other")
        ]

    def test_pc_relative_overflow_is_not_checked(self, relocate: Callable[[str], LinkedModule]) -> None:
        linked = relocate(".data\n.long far - .\n")
        (far,) = [r for r in linked.relocations if r.bound_to == "far"]
        assert far.value == (0x123456789 - far.where) & 0xFFFFFFFF

    def test_symbols_that_nobody_exports_are_all_named(self, relocate: Callable[[str], LinkedModule]) -> None:
        with pytest.raises(UnresolvedSymbol, match="lost, gone") as error:
            relocate(".text\ncall lost\ncall gone\n")
        assert error.value.names == ("lost", "gone")

    def test_common_symbols(self, relocate: Callable[[str], LinkedModule]) -> None:
        with pytest.raises(LinkError, match="symbol shared lies in section 0xfff2"):
            relocate(".comm shared, 8, 8\n")

    def test_a_place_outside_its_section(self, tiny: KernelModule, layout: Layout) -> None:
        rela = next(s for s in tiny.sections if s.name == ".rela.text")
        data = bytearray(tiny.data)
        data[rela.offset : rela.offset + 8] = (1 << 40).to_bytes(8, "little")
        damaged = replace(tiny, data=bytes(data))
        with pytest.raises(LinkError, match="lies outside its section"):
            link(damaged, layout, layout.addresses({"core": CORE, "init": INIT}), KNOWN.get)

    def test_a_symbol_index_beyond_the_table(self, tiny: KernelModule, layout: Layout) -> None:
        rela = next(s for s in tiny.sections if s.name == ".rela.text")
        data = bytearray(tiny.data)
        data[rela.offset + 12 : rela.offset + 16] = (9999).to_bytes(4, "little")
        with pytest.raises(LinkError, match="names symbol 9999"):
            list(relocations_of(replace(tiny, data=bytes(data)), layout))


class TestWhoExportsWhat:
    MAP = (
        "000000000001fb80 D current_task\nffffffff81000000 T _text\nffffffff81000100 t twin\n"
        "ffffffff81000200 T twin\nffffffff81000300 T hidden\n"
    )
    EXPORTS = "ffffffff82000000 r __ksymtab_twin\nffffffff82000010 r __ksymtab_current_task\n"

    def test_system_map_slides_and_per_cpu_symbols_do_not(self) -> None:
        exports = kernel_exports(parse_system_map(self.MAP), slide=0x1200000)
        assert exports["twin"] == 0xFFFFFFFF82200200
        assert exports["current_task"] == 0x1FB80

    def test_only_what_has_an_export_record_when_there_are_any(self) -> None:
        assert set(kernel_exports(parse_kallsyms(self.MAP + self.EXPORTS))) == {"twin", "current_task"}
        assert "hidden" in kernel_exports(parse_kallsyms(self.MAP))

    def test_the_kernel_comes_before_modules_and_the_first_module_before_the_second(self) -> None:
        resolve = resolver(
            {"a": 0xFFFFFFFF81000000, "p": 0x100}, {"m": {"a": 1, "b": 2}, "n": {"b": 3, "c": 4}}
        )
        assert resolve("a") == (0xFFFFFFFF81000000, "vmlinux")
        assert resolve("p") == (0x100, "per-CPU")
        assert resolve("b") == (2, "m")
        assert resolve("c") == (4, "n")
        assert resolve("d") is None

    def test_a_modules_exports_are_its_own_symbols_at_their_addresses(self, linked: LinkedModule) -> None:
        assert module_exports(linked) == {"tiny_exported": CORE}
        shown = parse_kallsyms(f"{CORE:x} T tiny_exported\t[tiny]\n{CORE + 9:x} t helper\t[tiny]\n")
        assert loaded_exports(shown.entries, linked.module.exports) == {"tiny_exported": CORE}
