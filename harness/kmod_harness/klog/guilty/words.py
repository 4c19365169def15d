"""What the words of a name tell of a function that is in no list: one of another release or architecture."""

from __future__ import annotations

import lzma
import math
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: Made by harness/scripts/function_places.py: a word, how many names of machinery have it, how many others.
_LIST = Path(__file__).with_name("function-words.xz")
_BETWEEN = re.compile(r"[_\d.]+")
#: As if each word had been seen so often on both sides: a rare word proves little.
_PRIOR = 0.3


@dataclass(frozen=True)
class WordCounts:
    """How many functions there are on both sides, and how many of each have a word in their names."""

    machinery: int
    others: int
    of: dict[str, tuple[int, int]]

    def weight(self, word: str) -> float:
        """The logarithm of how much likelier the word is in the name of machinery."""
        ratio = self.others / self.machinery
        serving, other = self.of.get(word, (0, 0))
        return math.log((serving + _PRIOR) * ratio / (other + _PRIOR * ratio))


def words_of(function: str) -> frozenset[str]:
    """Return the words of a name, without its numbers.

    >>> sorted(words_of("__asan_report_load8_noabort"))
    ['asan', 'load', 'noabort', 'report']
    """
    return frozenset(word for word in _BETWEEN.split(function.lower()) if word)


def likelihood(function: str) -> float:
    """Return the logarithm of how much likelier a name's words are in machinery; 0 tells nothing."""
    counts = _counts()
    return sum(counts.weight(word) for word in words_of(function))


@cache
def _counts() -> WordCounts:
    """Return the counts, read when a function is first met that is in no list."""
    first, *lines = lzma.decompress(_LIST.read_bytes()).decode().splitlines()
    machinery, others = first.split()
    rows = (line.split() for line in lines)
    return WordCounts(int(machinery), int(others), {word: (int(a), int(b)) for word, a, b in rows})
