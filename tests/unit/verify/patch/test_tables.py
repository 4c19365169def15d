"""Tables as the kernel's sort leaves them, fields that may change, and memory held against both."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.kmod.link.relocation import BoundRelocation, Relocation
from kmod_harness.verify.comparison import compare
from kmod_harness.verify.image import AllowedChange, ModuleImage
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.outside.kernel_state import FeaturesUnreadable, KernelState, SymbolHidden
from kmod_harness.verify.outside.struct_module import compare_addresses, find_struct, module_structs
from kmod_harness.verify.patch import tables
from kmod_harness.verify.patch.sorting import kernel_sort
from unit.verify.images import KERNEL, TABLES, TEXT, image, linked

RELEASES = st.sampled_from(((6, 1), (6, 12)))


@given(st.lists(st.integers(0, 30)), RELEASES)
def test_the_kernels_sort_sorts(items: list[int], release: tuple[int, int]) -> None:
    assert kernel_sort(items, lambda a, b: a - b, release) == sorted(items)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers())), RELEASES)
def test_and_loses_nothing_where_elements_are_equal(
    items: list[tuple[int, int]], release: tuple[int, int]
) -> None:
    found = kernel_sort(items, lambda a, b: a[0] - b[0], release)
    assert sorted(found) == sorted(items)
    assert [key for key, _ in found] == sorted(key for key, _ in items)


@given(st.lists(st.tuples(st.integers(-(1 << 20), 1 << 20), st.integers(-99, 99)), unique_by=lambda e: e[0]))
def test_an_exception_table_is_sorted_by_instruction_and_means_the_same(
    entries: list[tuple[int, int]],
) -> None:
    data = b"".join(
        struct.pack("<iiI", at - 12 * n, fixup - 12 * n - 4, n) for n, (at, fixup) in enumerate(entries)
    )
    it = image({"__ex_table": (TABLES, data)})
    tables.sort_exception_table(it, (6, 1))
    found = [
        (
            address - TABLES + struct.unpack("<iiI", entry)[0],
            address - TABLES + 4 + struct.unpack("<iiI", entry)[1],
        )
        for address, entry in it.words("__ex_table", 12)
    ]
    assert found == sorted(entries)


def orc(entries: list[tuple[int, bytes]]) -> ModuleImage:
    """ORC tables: offset of the instruction and its entry."""
    offsets = b"".join(struct.pack("<i", at - 4 * n) for n, (at, _) in enumerate(entries))
    return image(
        {
            ".orc_unwind_ip": (TABLES, offsets),
            ".orc_unwind": (TABLES + 0x1000, b"".join(e for _, e in entries)),
        }
    )


def orc_found(it: ModuleImage, release: tuple[int, int] = (6, 1)) -> list[tuple[int, bytes]]:
    tables.sort_orc_tables(it, release)
    places = [
        address - TABLES + struct.unpack("<i", data)[0] for address, data in it.words(".orc_unwind_ip", 4)
    ]
    return list(zip(places, (data for _, data in it.words(".orc_unwind", 6)), strict=True))


WEAK, END = bytes(6), b"\0\0\0\0\0\4"


def test_equal_elements_end_up_where_the_releases_sort_puts_them() -> None:
    # by lib/sort.c of 6.1.192 and of 6.12.118, compiled for the host
    items = [(0, name) for name in "abcdefg"]
    order = {
        release: "".join(name for _, name in kernel_sort(items, lambda a, b: a[0] - b[0], release))
        for release in ((6, 1), (6, 12))
    }
    assert order == {(6, 1): "bcdefga", (6, 12): "dbefgca"}


def test_since_6_4_an_orc_entry_is_weak_by_its_type() -> None:
    # given: an entry without a stack register whose type says that it is one, and one of no type
    typed, untyped = b"\0\0\0\0\0\3", b"\x08\0\0\0\x05\0"
    entries = [(10, typed), (10, untyped)]
    assert orc_found(orc(entries), (6, 12)) == [(10, untyped), (10, typed)]
    assert orc_found(orc(entries), (6, 1)) == [(10, typed), (10, untyped)]


def test_orc_entries_go_with_their_addresses() -> None:
    entries = [(30, b"\x08\0\0\0\x05\0"), (10, b"\x10\0\0\0\x05\0"), (20, b"\x18\0\0\0\x05\0")]
    assert orc_found(orc(entries)) == sorted(entries)


@pytest.mark.parametrize("first", [True, False])
def test_a_weak_terminator_goes_before_the_real_entry_of_its_address(first: bool) -> None:
    real = (8, b"\x08\0\0\0\x05\0")
    pair = [(8, WEAK), real] if first else [real, (8, WEAK)]
    assert orc_found(orc([(20, END), *pair])) == [(8, WEAK), real, (20, END)]


def test_mcount_addresses_ascend() -> None:
    it = image({"__mcount_loc": (TABLES, struct.pack("<3Q", TEXT + 9, TEXT, TEXT + 4))})
    tables.sort_mcount_table(it)
    assert struct.unpack("<3Q", it.read(TABLES, 24)) == (TEXT, TEXT + 4, TEXT + 9)


@pytest.mark.parametrize(
    ("flags", "now", "accepted"), [(0x902, 0x906, True), (0x902, 0x907, False), (0x900, 0x904, False)]
)
def test_a_warning_that_warns_once_may_note_that_it_has(flags: int, now: int, accepted: bool) -> None:
    it = linked({"__bug_table": (TABLES, struct.pack("<iHH", 0, flags, 0))})
    picture = ModuleImage(it)
    tables.allow_bug_flags(picture, it)
    (part,) = picture.sections
    memory = struct.pack("<iHH", 0, now, 0)
    assert bool(compare(part, memory).unexplained) is not accepted


def written(parts: dict[str, tuple[int, bytes]], *fields: tuple[int, int]) -> ModuleImage:
    """Sections with what may be written allowed; fields: address and size of relocated ones."""
    it = linked(parts)
    what = Relocation(it.module.sections[0], 0, 1, "init_module", 0, 0)
    bound = [BoundRelocation(at, what, 0, size, "init_module", "m", 0) for at, size in fields]
    it = replace(it, relocations=tuple(bound))
    picture = ModuleImage(it)
    tables.allow_written_data(picture, it)
    return picture


@pytest.mark.parametrize(
    ("name", "pointer", "unexplained"), [(b"m", bytes(8), 0), (b"other", bytes(8), 1), (b"m", b"\1" * 8, 1)]
)
def test_struct_module_must_bear_the_modules_name_and_functions(
    name: bytes, pointer: bytes, unexplained: int
) -> None:
    struct_module = bytes(24) + b"m".ljust(56, b"\0") + bytes(8) + bytes(64)
    it = written({".gnu.linkonce.this_module": (TABLES, struct_module)}, (TABLES + 80, 8))
    memory = b"\1" * 24 + name.ljust(56, b"\0") + pointer + b"\2" * 64
    found = compare(it.sections[0], memory)
    assert bool(found.unexplained) is bool(unexplained)
    assert unexplained or found.explained == {Mechanism.THIS_MODULE: 88}


def test_written_data_is_explained_and_a_table_in_it_is_not() -> None:
    it = written({".data": (TABLES, bytes(8)), ".static_call_sites": (TABLES + 64, bytes(8))})
    data, table = it.sections
    assert compare(data, b"\1" + bytes(7)).explained == {Mechanism.DATA: 1}
    assert len(compare(table, b"\1" + bytes(7)).unexplained) == 1


@given(st.binary(min_size=1, max_size=200), st.data(), st.booleans())
def test_any_changed_byte_is_unexplained_or_in_a_field_that_may_change(
    text: bytes, data: st.DataObject, free: bool
) -> None:
    at = data.draw(st.integers(0, len(text) - 1))
    flip = data.draw(st.integers(1, 255))
    it = image({".text": (TEXT, text)})
    if free:
        it.allow(AllowedChange(TEXT + at, 1, Mechanism.DATA))
    memory = text[:at] + bytes((text[at] ^ flip,)) + text[at + 1 :]
    found = compare(it.sections[0], memory)
    assert found.equal == len(text) - 1
    (difference,) = found.differences
    assert (difference.address, difference.now) == (TEXT + at, memory[at : at + 1])
    assert difference.mechanism is (Mechanism.DATA if free else None)


@given(st.lists(st.tuples(st.integers(0, 90), st.binary(min_size=1, max_size=9)), max_size=8))
def test_what_was_replayed_is_explained_and_adds_up(writes: list[tuple[int, bytes]]) -> None:
    it = image({".text": (TEXT, bytes(100))})
    for at, code in writes:
        it.write(TEXT + at, code, Mechanism.ALTERNATIVE)
    (part,) = it.sections
    found = compare(part, bytes(part.data))
    assert not found.unexplained
    assert found.equal + sum(found.explained.values()) == 100


def test_a_table_sorted_by_a_hidden_address_may_be_in_any_order() -> None:
    it = image({"__jump_table": (TABLES, bytes(32)), ".rodata": (TABLES + 64, bytes(32))})
    unknown = [AllowedChange(at, 8, Mechanism.HIDDEN_SYMBOL) for at in (TABLES + 8, TABLES + 64)]
    tables.allow_unknown(it, unknown)
    table, constants = it.sections
    assert not compare(table, b"\1" * 32).unexplained
    assert [one.size for one in compare(constants, b"\1" * 32).unexplained] == [24]


def test_what_the_kernel_did_not_write_after_all_is_found() -> None:
    it = image({".text": (TEXT, bytes(8))})
    it.write(TEXT + 2, b"\x90\x90", Mechanism.ALTERNATIVE)
    (difference,) = compare(it.sections[0], bytes(8)).unexplained
    assert (difference.address, difference.expected, difference.now) == (TEXT + 2, b"\x90\x90", b"\0\0")


def test_the_kernels_list_of_modules_is_followed_to_its_head() -> None:
    head, one, two = KERNEL, KERNEL + 0x1000, KERNEL + 0x2000
    memory = {
        head: struct.pack("<Q", one + 8),
        one + 8: struct.pack("<QQ", two + 8, head) + b"first".ljust(56, b"\0"),
        two + 8: struct.pack("<QQ", head, one + 8) + b"second".ljust(56, b"\0"),
    }

    def read(address: int, size: int) -> bytes:
        for start, data in memory.items():
            if start <= address < start + len(data):
                return data[address - start :][:size]
        raise AssertionError(hex(address))

    assert module_structs(read, head) == {"first": one, "second": two}


def test_a_list_without_an_end_ends() -> None:
    looping = struct.pack("<Q", KERNEL + 8)
    assert len(module_structs(lambda address, size: (looping * 8)[:size], KERNEL)) <= 1


def test_a_struct_module_is_known_by_its_name_its_state_and_its_pointers() -> None:
    pointers = struct.pack("<QQ", KERNEL, KERNEL)
    good = bytes(8) + pointers + b"m".ljust(56, b"\0")
    text_only = b"x" * 24 + b"m".ljust(56, b"\0")
    coming = struct.pack("<Q", 1) + pointers + b"m".ljust(56, b"\0")
    memory = text_only.ljust(128, b"\0") + coming.ljust(128, b"\0") + good
    assert find_struct("m", iter([(KERNEL, memory)])) == KERNEL + 256
    assert find_struct("n", iter([(KERNEL, memory)])) is None


def test_sections_elsewhere_than_predicted_are_named() -> None:
    module = linked({".text": (TEXT, b"\xc3"), ".data": (TABLES, b"\0")}).module
    shown = {".text": TEXT, ".data": TABLES + 64, ".unknown": 5}
    assert compare_addresses({0: TEXT, 1: TABLES}, module, shown) == [(".data", TABLES, TABLES + 64)]


def test_features_that_are_none_are_refused() -> None:
    state = KernelState(lambda address, size: bytes(size), {"boot_cpu_data": KERNEL}, (6, 1))
    with pytest.raises(FeaturesUnreadable):
        state.has(3)


def test_a_symbol_that_is_hidden_is_named() -> None:
    with pytest.raises(SymbolHidden, match="pv_ops"):
        KernelState(lambda address, size: b"", {"pv_ops": 0}, (6, 1)).symbol("pv_ops")
