"""What an address in a module that is gone meant."""

from __future__ import annotations

import subprocess

import pytest

from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.leftovers.allocator.slabs import SlabObject
from kmod_harness.leftovers.described import describe
from kmod_harness.leftovers.former_module import FormerModule
from kmod_harness.leftovers.pointers import Pointer
from kmod_harness.leftovers.stopped_kernel import Variable
from kmod_harness.leftovers.words import Word

pytestmark = pytest.mark.needs("binutils", "gcc")

SOURCE = r"""
#define SECTION(name) __attribute__((section(name), used))
SECTION(".gnu.linkonce.this_module") char __this_module[64];
SECTION(".modinfo") char info[] = "name=gone\0vermagic=6.1.192 SMP \0license=GPL";
int counter = 3;
__attribute__((noinline)) int helper(int x) { return counter += x; }
struct block { long priority; int (*call)(int); } block = { 7, helper };
SECTION(".init.text") int init_module(void) { return helper(1); }
SECTION(".orc_unwind") char orc[16];
"""
TEXT, DATA, ORC, INIT = 0xFFFFFFFFC0000000, 0xFFFFFFFFC0002010, 0xFFFFFFFFC0003000, 0xFFFFFFFFC0006000
SECTIONS = {".text": TEXT, ".data": DATA, ".orc_unwind": ORC, ".init.text": INIT}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> KernelModule:
    directory = tmp_path_factory.mktemp("module")
    (directory / "gone.c").write_text(SOURCE)
    command = ["gcc", "-w", "-g", "-O1", "-mcmodel=kernel", "-fno-pic", "-c", "-o", "gone.ko", "gone.c"]
    subprocess.run(command, cwd=directory, check=True)
    return read_module(directory / "gone.ko")


@pytest.fixture
def gone(file: KernelModule) -> FormerModule:
    return FormerModule(file, SECTIONS)


def address_of(gone: FormerModule, name: str) -> int:
    symbol = next(symbol for symbol in gone.file.symbols if symbol.name == name)
    return gone.sections[symbol.section or ""] + symbol.value


def pointer(gone: FormerModule, address: int, place: Variable | SlabObject, where: str) -> Pointer:
    return Pointer(Word(0, address), gone, gone.target_of(address), place, where)


def test_its_ranges_are_whole_pages_without_init(gone: FormerModule) -> None:
    assert gone.ranges == (range(TEXT, TEXT + 0x1000), range(TEXT + 0x2000, TEXT + 0x4000))


def test_a_functions_first_byte_can_be_called_and_its_middle_is_a_return_address(gone: FormerModule) -> None:
    start = address_of(gone, "helper")
    assert (gone.target_of(start).symbol, gone.target_of(start).is_entry) == ("helper", True)
    assert not gone.target_of(start + 2).is_entry


def test_any_byte_of_a_variable_is_pointed_to(gone: FormerModule) -> None:
    target = gone.target_of(address_of(gone, "block") + 8)
    assert (target.symbol, target.offset, target.is_entry) == ("block", 8, True)


def test_tables_about_code_are_nobodys_target(gone: FormerModule) -> None:
    assert not gone.target_of(ORC).is_entry


def test_between_sections_is_nothing_known(gone: FormerModule) -> None:
    assert gone.target_of(TEXT + 0x2000).symbol == ""


def test_a_variable_tells_the_functions_it_was_built_with(gone: FormerModule) -> None:
    assert gone.calls_of(gone.target_of(address_of(gone, "block"))) == ("helper",)
    assert gone.calls_of(gone.target_of(address_of(gone, "counter"))) == ()


def test_sections_that_sysfs_hides_are_nowhere(file: KernelModule) -> None:
    assert FormerModule(file, {".text": 0}).ranges == ()


def test_pointers_to_one_variable_are_one_finding_the_certain_place_first(gone: FormerModule) -> None:
    block = address_of(gone, "block")
    item = SlabObject("kmalloc-64", 0x1000, 64, 8, is_free=False)
    found = describe(
        [
            pointer(gone, block, item, "an object of kmalloc-64 at +8"),
            pointer(gone, block + 8, Variable(1), "chain"),
        ]
    )
    assert [finding.what for finding in found] == [
        "chain, an object of kmalloc-64 at +8 still point to block, which calls helper"
    ]
    assert (found[0].place, found[0].line) == ("chain", "gone.c:6")


def test_a_function_is_called(gone: FormerModule) -> None:
    (found,) = describe([pointer(gone, address_of(gone, "helper"), Variable(1), "hook")])
    assert str(found) == "hook still calls helper (gone.c:6)"


def test_what_has_no_name_is_told_only_alone(gone: FormerModule) -> None:
    nameless = pointer(gone, TEXT + 0x2000, Variable(1), "hook")
    named = pointer(gone, address_of(gone, "block"), Variable(2), "chain")
    assert [found.symbol for found in describe([nameless, named])] == ["block"]
    assert [found.what for found in describe([nameless])] == ["hook still points to its data"]
