"""The GNU build-id of an ELF file."""

from __future__ import annotations

import struct


def parse_build_id(data: bytes) -> str:
    """Returns the descriptor of the GNU build-id note (note header: name size, descriptor size, type)."""
    if len(data) < 12:
        return ""
    name_size, size, kind = struct.unpack_from("<III", data)
    start = 12 + (name_size + 3) // 4 * 4
    if kind != 3:  # NT_GNU_BUILD_ID
        return ""
    return data[start : start + size].hex()
