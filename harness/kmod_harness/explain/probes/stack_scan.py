"""A kernel stack without debug information: the return addresses found on it, in order. Pure.

Like the lines with a `?` in the kernel's own oops: an address behind a call instruction may belong to a
frame, or remain from an earlier call.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Mapping

from kmod_harness.explain.observed.observations import Frame


class TextNames:
    """Names of the functions in one range of code, by name -> address."""

    def __init__(self, addresses: Mapping[str, int], text: range) -> None:
        self.text = text
        self._functions = sorted((address, name) for name, address in addresses.items() if address in text)

    def at(self, address: int) -> str:
        """Returns the function at an address, "" below the first one."""
        index = bisect_right(self._functions, (address, "\x7f")) - 1
        return self._functions[index][1] if index >= 0 else ""


def scan_stack(
    stack: bytes, read: Callable[[int, int], bytes], names: Mapping[str, TextNames]
) -> tuple[Frame, ...]:
    """Returns the possible callers, innermost first.

    stack: bytes from the stack pointer up
    read: function that reads the kernel's memory
    names: image -> names of its functions
    """
    found = []
    for (value,) in struct.iter_unpack("<Q", stack[: len(stack) & -8]):
        image = next((name for name, known in names.items() if value in known.text), "")
        if image and _is_behind_a_call(read(value - 7, 7)):
            found.append(Frame(names[image].at(value - 1), value, "", 0, image))
    return tuple(found)


def _is_behind_a_call(code: bytes) -> bool:
    """Returns whether the bytes end with a call: E8 rel32, or FF /2 (Intel SDM volume 2, CALL)."""
    if code[-5] == 0xE8:
        return True
    # a register (2 bytes), with displacement (3, 6) or a REX prefix more
    return any(code[-size] == 0xFF and code[-size + 1] >> 3 & 7 == 2 for size in (2, 3, 6, 7))
