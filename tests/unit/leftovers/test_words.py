"""Words that point into a range, found in bytes."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.leftovers.words import Word, words_into

BASE = 0xFFFFFFFFC0000000
RANGE = range(BASE + 0x1FF00, BASE + 0x20100)


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}Q", *values)


def test_a_word_that_points_into_the_range_is_found_with_its_place() -> None:
    memory = words(0, BASE + 0x1FF08, BASE)
    assert words_into([RANGE], [(0x1000, memory)]) == [Word(0x1008, BASE + 0x1FF08)]


def test_the_first_address_belongs_to_the_range_and_its_end_does_not() -> None:
    found = words_into([RANGE], [(0, words(RANGE.start - 1, RANGE.start, RANGE.stop - 1, RANGE.stop))])
    assert [word.value for word in found] == [RANGE.start, RANGE.stop - 1]


def test_what_is_not_aligned_is_no_word() -> None:
    assert words_into([RANGE], [(0, b"\0" + words(RANGE.start, 0)[:-1])]) == []


def test_no_range_has_no_words() -> None:
    assert words_into([], [(0, words(BASE))]) == []


@given(st.lists(st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([*RANGE, BASE, BASE + 0x20000]))))
def test_the_search_finds_what_a_look_at_each_word_finds(values: list[int]) -> None:
    expected = [Word(0x4000 + 8 * at, value) for at, value in enumerate(values) if value in RANGE]
    assert words_into([RANGE], [(0x4000, words(*values))]) == expected
