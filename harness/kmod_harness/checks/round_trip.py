"""Checks that a device gives back the bytes that were written to it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from kmod_harness.checks.require import require
from kmod_harness.guest.guest import Guest


@dataclass(frozen=True)
class RoundTrip:
    """The bytes written to a device and read from it.

    path: path of the device node
    written: bytes written
    read: bytes read back by the same opener
    behind: bytes that one more read gave, b"" at the end of the data
    """

    path: str
    written: bytes
    read: bytes
    behind: bytes


def check_round_trip(guest: Guest, path: str, data: bytes) -> RoundTrip:
    """Checks that the writer and a second opener read back every byte written, and that the data end there.

    Raises CheckFailed; OSError with the guest's errno when a call fails.
    """
    with guest.open(path, os.O_RDWR) as device:
        count = device.write(data)
        require(count == len(data), f"{path} took {count} of {len(data)} bytes")
        position = device.lseek(0)
        require(position == 0, f"lseek({path}, 0) gave {position}")
        read = device.read(len(data))
        require(
            read == data, f"{path} gives other bytes than were written to it", _first_difference(data, read)
        )
        behind = device.read(1)
        require(behind == b"", f"{path} has more data behind the bytes written", f"it gave {behind!r}")
    with guest.open(path) as again:
        second = again.read(len(data))
    require(second == data, f"a second opener of {path} reads other bytes", _first_difference(data, second))
    return RoundTrip(path, data, read, behind)


def _first_difference(expected: bytes, found: bytes) -> str:
    at = next((i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), None)
    if at is None:
        return f"{len(found)} bytes instead of {len(expected)}"
    return f"first at offset {at}: expected {expected[at : at + 16]!r}, found {found[at : at + 16]!r}"
