"""A symbol table's bytes, read."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.kmod.elf.symbol_table import parse_symbol_table


@given(
    st.lists(st.tuples(st.text(min_size=1).filter(lambda n: "\0" not in n), st.integers(0, 9)), max_size=8)
)
def test_a_symbol_table_is_read_back(placed: list[tuple[str, int]]) -> None:
    strings, packed = b"\0", b""
    for name, index in placed:
        packed += struct.pack("<IBBHQQ", len(strings), 0x12, 0, index, 7, 3)
        strings += name.encode("utf-8", "surrogatepass") + b"\0"
    table = parse_symbol_table(packed, strings)
    assert [(s.section_index, s.value, s.size, s.kind, s.binding) for s in table] == [
        (index, 7, 3, "FUNC", "GLOBAL") for _, index in placed
    ]
    assert [s.name for s in table] == [
        n.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for n, _ in placed
    ]


def test_a_symbol_name_that_has_no_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="symbol 0"):
        parse_symbol_table(bytes([9]) + bytes(23), b"\0ab")
