"""The search for words of memory that point into a range of addresses, pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

_WORD = struct.Struct("<Q")


@dataclass(frozen=True, order=True)
class Word:
    """An aligned 64-bit word of memory.

    physical: its physical address
    value: what it holds
    """

    physical: int
    value: int


def words_into(ranges: Sequence[range], memory: Iterable[tuple[int, bytes]]) -> list[Word]:
    """Returns the words that point into one of the ranges, ascending.

    memory: runs of memory (physical address of the first byte, bytes)
    """
    # six of eight bytes are the same for 64 KiB of addresses: found by bytes.find, not word by word
    parts = {part for span in ranges for part in range(span.start >> 16, (span.stop - 1 >> 16) + 1)}
    patterns = [_WORD.pack(part << 16)[2:] for part in parts]
    found = {
        word
        for start, data in memory
        for pattern in patterns
        for word in _words_with(pattern, start, data)
        if any(word.value in span for span in ranges)
    }
    return sorted(found)


def _words_with(pattern: bytes, start: int, data: bytes) -> Iterator[Word]:
    at = data.find(pattern, 2)
    while at >= 0:
        if at % 8 == 2:
            yield Word(start + at - 2, _WORD.unpack_from(data, at - 2)[0])
        at = data.find(pattern, at + 1)
