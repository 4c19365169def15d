"""The CRCs of the symbols that a module was built against (MODVERSIONS)."""

from __future__ import annotations

import struct

#: `struct modversion_info` of a 64-bit kernel (include/linux/module.h, 6.1): CRC, then the name.
_MODVERSION = struct.Struct("<Q56s")


def parse_versions(data: bytes) -> dict[str, int]:
    """Returns symbol -> CRC, from the content of the section `__versions`."""
    whole = data[: len(data) // _MODVERSION.size * _MODVERSION.size]
    return {
        name.split(b"\0", 1)[0].decode("utf-8", "replace"): crc & 0xFFFFFFFF
        for crc, name in _MODVERSION.iter_unpack(whole)
    }
