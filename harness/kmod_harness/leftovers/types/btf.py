"""Members of structures and values of enumerations in BTF, pure.

The format: Documentation/bpf/btf.rst (6.1). Only what offsets need is decoded.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Iterator

from kmod_harness.errors import Misuse

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE, _MEMBER = struct.Struct("<III"), struct.Struct("<III")
_INT, _ARRAY, _STRUCT, _UNION, _ENUM, _FUNC_PROTO, _VAR, _DATASEC = 1, 3, 4, 5, 6, 13, 14, 15
_DECL_TAG, _ENUM64 = 17, 19
#: Bytes behind a type: fixed, or for each of its `vlen` entries.
_FIXED = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}
_EACH = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _FUNC_PROTO: 8, _DATASEC: 12, _ENUM64: 12}
_MODIFIERS = frozenset({8, 9, 10, 11, 18})  # typedef, volatile, const, restrict, type tag
#: More than any type of the kernel has, one behind the other.
_MOST_MODIFIERS = 32


class BtfUnreadable(Misuse):
    """The bytes are no BTF."""


class Btf:
    """The types of a kernel. Raises BtfUnreadable."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _HEADER.size or int.from_bytes(data[:2], "little") != _MAGIC:
            raise BtfUnreadable("these bytes are no BTF", evidence=data[:16].hex())
        _, _, _, header, types, types_size, strings, _ = _HEADER.unpack_from(data)
        self._data = data
        self._strings = header + strings
        with _damage():
            self._places = list(_places(data, header + types, types_size))

    def layouts(self, names: Iterable[str]) -> dict[str, dict[str, int]]:
        """Returns name -> member -> offset in bytes of the structures; "" is the size.

        Members of unnamed members are their parent's. A structure that the kernel has not is left out.
        """
        wanted, found = set(names), {}
        with _damage():
            for place in self._places[1:]:
                name, info, size = _TYPE.unpack_from(self._data, place)
                if info >> 24 & 31 == _STRUCT and info & 0xFFFF:
                    text = self._text(name)
                    if text in wanted and text not in found:
                        found[text] = {"": size, **self._members(place, 0)}
        return found

    def enumerators(self, names: Iterable[str]) -> dict[str, int]:
        """Returns the values of the enumerators of those names."""
        wanted, found = set(names), {}
        with _damage():
            for place in self._places[1:]:
                _, info, _ = _TYPE.unpack_from(self._data, place)
                if info >> 24 & 31 == _ENUM:
                    for at in range(place + 12, place + 12 + 8 * (info & 0xFFFF), 8):
                        name, value = struct.unpack_from("<Ii", self._data, at)
                        text = self._text(name)
                        if text in wanted:
                            found[text] = value
        return found

    def _members(self, place: int, base: int) -> dict[str, int]:
        _, info, _ = _TYPE.unpack_from(self._data, place)
        found: dict[str, int] = {}
        for at in range(place + 12, place + 12 + 12 * (info & 0xFFFF), 12):
            name, kind, offset = _MEMBER.unpack_from(self._data, at)
            # with the kind flag, the upper byte is a bit field's size
            bits = offset & 0xFFFFFF if info >> 31 else offset
            if name and self._text(name):
                found.setdefault(self._text(name), base + bits // 8)
            else:
                inner = self._places[self._unmodified(kind)]
                for member, inside in self._members(inner, base + bits // 8).items():
                    found.setdefault(member, inside)
        return found

    def _unmodified(self, kind: int) -> int:
        for _ in range(_MOST_MODIFIERS):
            _, info, below = _TYPE.unpack_from(self._data, self._places[kind])
            if info >> 24 & 31 not in _MODIFIERS:
                break
            kind = below
        return kind

    def _text(self, offset: int) -> str:
        start = self._strings + offset
        return self._data[start : self._data.index(b"\0", start)].decode(errors="replace")


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """Raises BtfUnreadable where the bytes lead nowhere."""
    try:
        yield
    except (struct.error, IndexError, ValueError, RecursionError) as error:
        raise BtfUnreadable("the kernel's BTF is damaged", evidence=str(error)) from error


def _places(data: bytes, start: int, size: int) -> Iterator[int]:
    """Yields where each type begins; number 0 is void, and lies nowhere."""
    yield 0
    at, end = start, start + size
    unpack = _TYPE.unpack_from
    while at < end:
        yield at
        _, info, _ = unpack(data, at)
        kind = info >> 24 & 31
        at += 12 + _FIXED.get(kind, 0) + _EACH.get(kind, 0) * (info & 0xFFFF)
