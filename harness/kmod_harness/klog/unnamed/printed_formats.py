"""Format strings of the kernel's own urgent messages, and what each of them is (printed-formats.txt)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

FILE = Path(__file__).with_name("printed-formats.txt")
#: A conversion of vsnprintf's (lib/vsprintf.c, 6.1): flags, width, precision, length, letter, %p's letters.
_CONVERSION = re.compile(
    r"%%|%[-+ #0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|L|z|t)?(?P<letter>[diouxXcs]|p(?:[a-zA-Z]+)?)"
)
#: Letters that a format has for itself: with fewer it matches anybody's line.
_TELLING = 10
#: What a line of this level and above says is urgent: emerg, alert, crit.
URGENT = 2


@dataclass(frozen=True)
class PrintedFormat:
    """A format string of the kernel's, as printed-formats.txt has it.

    verdict: `row`: a row of the header table takes it; `report`: the line is a report of its own; else a word
        for why it is none, and the reason behind a colon.
    level: 0 to 7, None where the caller or the default decides.
    releases: those that have it, as `6.1,6.12`.
    path: the file that prints it.
    text: the first line of what is printed, with the file's pr_fmt().
    sample: a line that it prints, "" where samples of each conversion make one.
    """

    verdict: str
    level: int | None
    releases: str
    path: str
    text: str
    sample: str = ""

    @property
    def is_report(self) -> bool:
        """Whether a line of it is a report of its own."""
        return self.verdict == "report"

    @property
    def is_telling(self) -> bool:
        """Whether nobody else's line looks like it by chance."""
        return sum(map(str.isalpha, _CONVERSION.sub("", self.text))) >= _TELLING

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What its lines look like."""
        parts, end = [], 0
        for match in _CONVERSION.finditer(self.text):
            parts += [re.escape(self.text[end : match.start()]), _lookalike(match)]
            end = match.end()
        return re.compile("".join((*parts, re.escape(self.text[end:]))) + r"\s*\Z")

    @property
    def line(self) -> str:
        """A line that it may print."""
        return self.sample or _CONVERSION.sub(_sample, self.text)


def _lookalike(match: re.Match[str]) -> str:
    letter = match["letter"]
    if letter is None:
        return "%"
    if letter in "dioux" or letter in "X":
        return r"\s{0,20}-?[0-9a-fA-Fx]{1,20}"
    return r".{0,400}?"


def _sample(match: re.Match[str]) -> str:
    letter = match["letter"]
    if letter is None:
        return "%"
    if letter.lower() in ("ps", "pb", "psb"):
        return "f+0x10/0x20"
    if letter.startswith("p"):
        return "ffff888000000000"
    return "abc" if letter == "s" else "4" if letter != "c" else "c"


def read_formats(text: str) -> tuple[PrintedFormat, ...]:
    """Return the rows of a list like printed-formats.txt; comments begin with #."""
    rows = (line.split("\t") for line in text.splitlines() if line and not line.startswith("#"))
    return tuple(
        PrintedFormat(verdict, int(level) if level.isdigit() else None, releases, path, *_unescaped(rest))
        for verdict, level, releases, path, *rest in rows
    )


def _unescaped(rest: list[str]) -> list[str]:
    return [each.replace("\\t", "\t") for each in rest]


@cache
def urgent_reports() -> tuple[PrintedFormat, ...]:
    """Return the formats whose lines are reports of their own; read when a log first has an urgent line."""
    return tuple(row for row in read_formats(FILE.read_text()) if row.is_report)
