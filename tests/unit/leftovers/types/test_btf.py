"""Offsets of members, read from BTF made by hand."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.leftovers.types.btf import Btf, BtfUnreadable

STRUCT, UNION, ENUM, INT, CONST = 4, 5, 6, 1, 10


class Maker:
    """Types and strings, put together as the kernel's build does it."""

    def __init__(self) -> None:
        self.types, self.strings = b"", b"\0"

    def name(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def add(self, kind: int, name: str, size: int, entries: list[tuple[int, ...]], flag: int = 0) -> None:
        self.types += struct.pack("<III", self.name(name), flag << 31 | kind << 24 | len(entries), size)
        for entry in entries:
            self.types += struct.pack(f"<{len(entry)}i", *entry)

    def data(self) -> bytes:
        sizes = (0, len(self.types), len(self.types), len(self.strings))
        return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, *sizes) + self.types + self.strings


def sample(flag: int = 0) -> Btf:
    made = Maker()
    made.add(INT, "long", 8, [])
    made.types += struct.pack("<I", 64)
    made.add(UNION, "", 8, [(made.name("list"), 1, 0), (made.name("other"), 1, 0)])
    made.add(CONST, "", 2, [])
    members = [(made.name("flags"), 1, 0), (0, 3, 64), (made.name("count"), 1, 128)]
    made.add(STRUCT, "page", 24, members, flag)
    made.add(STRUCT, "empty", 0, [])
    made.add(ENUM, "pagetype", 4, [(made.name("PGTY_slab"), 245), (made.name("PGTY_buddy"), 240)])
    return Btf(made.data())


def test_members_of_an_unnamed_union_are_their_parents_modifiers_passed_over() -> None:
    assert sample().layouts(["page"]) == {
        "page": {"": 24, "flags": 0, "list": 8, "other": 8, "count": 16},
    }


def test_with_the_flag_the_upper_byte_is_the_size_of_a_bit_field() -> None:
    assert sample(flag=1).layouts(["page"])["page"]["count"] == 16


def test_a_structure_without_members_or_of_another_name_is_left_out() -> None:
    assert sample().layouts(["empty", "folio"]) == {}


def test_enumerators_are_found_by_name() -> None:
    assert sample().enumerators(["PGTY_slab", "PG_slab"]) == {"PGTY_slab": 245}


@pytest.mark.parametrize("data", [b"", b"\x7fELF" + bytes(60), bytes(100)])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BtfUnreadable):
        Btf(data)


@given(st.binary(max_size=200))
def test_damaged_types_end_the_reading_and_not_the_program(noise: bytes) -> None:
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(noise), len(noise), 1)
    try:
        found = Btf(header + noise + b"\0")
        found.layouts(["page"])
        found.enumerators(["PG_slab"])
    except BtfUnreadable:
        pass
