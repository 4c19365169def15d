"""Numbers in words a person reads: sizes, times, counts, addresses. Pure."""

from __future__ import annotations

import re

from markupsafe import Markup

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_NUMBERS = (
    *(
        "no",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
#: What is set as code in a sentence: addresses, paths, and names with an underscore or parentheses.
_CODE = re.compile(r"(0x[0-9a-f]+|(?:/(?:proc|sys|dev|boot|usr)/[\w/*.-]*\w)|\b\w*_\w+(?:\(\))?|\b\w+\(\))")


def size_text(size: int) -> str:
    """Returns bytes in the largest binary unit that leaves at least 1.

    >>> size_text(20480), size_text(1 << 47), size_text(1244), size_text(7)
    ('20 KiB', '128 TiB', '1.2 KiB', '7 B')
    """
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    number = f"{value:.1f}".removesuffix(".0") if value < 100 else f"{value:.0f}"
    return f"{number} {_UNITS[unit]}"


def time_text(microseconds: float) -> str:
    """Returns a time with three significant digits at most.

    >>> time_text(0.42), time_text(37.25), time_text(1830.0), time_text(2_400_000)
    ('0.4 µs', '37 µs', '1.8 ms', '2.4 s')
    """
    for unit, length in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= length:
            value = microseconds / length
            return f"{value:.1f} {unit}" if value < 100 else f"{value:.0f} {unit}"
    return f"{microseconds:.1f} µs" if microseconds < 10 else f"{microseconds:.0f} µs"


def count_text(count: int) -> str:
    """Returns a number with thin spaces between its thousands, which no line breaks at."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def number_word(count: int) -> str:
    """Returns small numbers as words, others as digits."""
    return _NUMBERS[count] if 0 <= count < len(_NUMBERS) else str(count)


def plural(count: int, noun: str, many: str = "") -> str:
    """Returns `1 page`, `5 pages`."""
    return f"{count_text(count)} {noun if count == 1 else many or noun + 's'}"


def address_markup(address: int) -> Markup:
    """Returns an address; the upper half, which most of them share, is set back."""
    digits = f"{address:016x}"
    return Markup('<span class="a"><i>0x{}</i>{}</span>').format(digits[:8], digits[8:])


def prose_markup(text: str) -> Markup:
    """Returns a sentence with its addresses, paths and names set as code."""
    parts = _CODE.split(bounded(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in enumerate(parts)
    )


def bounded(text: str, limit: int = 12_000) -> str:
    """Returns the start of a text, as much as fits the page: the guest may have made it very long."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}\n... {count_text(len(text) - limit)} more characters are not shown"
