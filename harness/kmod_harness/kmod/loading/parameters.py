"""A module's parameters, as the text that finit_module takes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

#: None: the name alone, as `insmod x.ko debug` gives a bool.
Parameter = str | int | bool | None | Sequence[str | int | bool]

#: isspace() of the kernel (lib/ctype.c, 6.1 to 7.2), for which a byte of UTF-8 may be a blank as well.
_BLANKS = frozenset(b" \t\n\v\f\r\xa0")
_QUOTE = ord('"')
_NO_WAY = "the kernel has no way to pass"


def format_parameters(parameters: Mapping[str, Parameter]) -> str:
    """Returns the text finit_module takes (next_arg, lib/cmdline.c; param_array, kernel/params.c, 6.1).

    An empty list is left out: the kernel would take it for one empty item.

    Raises ValueError for a value that no text stands for.

    >>> format_parameters({"minors": 2, "debug": True, "name": "a b", "ports": [1, 2], "quiet": None})
    'minors=2 debug=Y name="a b" ports=1,2 quiet'
    """
    closed: list[str] = []
    last: list[str] = []
    for name, value in parameters.items():
        if value is None:
            closed.append(name)
        elif isinstance(value, str | int) or value:
            text, is_closed = _written(name, _text(name, value))
            (closed if is_closed else last).append(text)
    if len(last) > 1:
        raise ValueError(f"{_NO_WAY} two values that leave a quotation open: {' and '.join(last)}")
    return " ".join([*closed, *last])


def _text(name: str, value: str | int | bool | Sequence[str | int | bool]) -> str:
    if isinstance(value, bool):
        return "Y" if value else "N"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value
    items = [_text(name, item) for item in value]
    cut = next((item for item in items if "," in item), None)
    if cut is not None:
        raise ValueError(f"parameter {name}: {_NO_WAY} an item with a comma: {cut!r}")
    return ",".join(items)


def _written(name: str, value: str) -> tuple[str, bool]:
    """Returns a parameter as it is written, and whether another may follow.

    Each quotation mark opens or closes, wherever it stands, and a blank outside ends the parameter. One
    before the name or the value is taken away, and then one at the end.
    """
    if "\0" in value:
        raise ValueError(f"parameter {name}: {_NO_WAY} a NUL: {value!r}")
    data = os.fsencode(value)
    is_even = data.count(_QUOTE) % 2 == 0
    ways = []
    if _holds_together(data, is_open=False):
        if data and data[0] != _QUOTE:
            ways.append((f"{name}={value}", is_even))
        ways.append((f'"{name}="{value}"', not is_even))
    if _holds_together(data, is_open=True):
        ways.append((f'{name}="{value}"', is_even))
    if not ways:
        raise ValueError(f"parameter {name}: {_NO_WAY} this mixture of quotation marks and blanks: {value!r}")
    return next((way for way in ways if way[1]), ways[0])


def _holds_together(data: bytes, *, is_open: bool) -> bool:
    """Whether no blank of the value lies outside quotation marks."""
    for byte in data:
        if byte == _QUOTE:
            is_open = not is_open
        elif byte in _BLANKS and not is_open:
            return False
    return True
