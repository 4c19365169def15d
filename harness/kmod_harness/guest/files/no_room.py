"""A guest whose memory is too small for the files that are put into it."""

from __future__ import annotations

import errno

from kmod_harness.errors import Misuse

_MIB = 1 << 20


def raise_if_no_room(error: OSError, what: str, size: int, memory_mib: int) -> None:
    """Raises Misuse where the guest's answer means that its file system, which lies in memory, is full.

    size: bytes of what was to be written
    memory_mib: the guest's memory in MiB
    """
    if error.errno in (errno.ENOSPC, errno.ENOMEM):
        more = 1 << max(memory_mib * 2 - 1, memory_mib + size * 2 // _MIB).bit_length()
        asked = f"{more >> 10}G" if more >= 1024 else f"{more}M"
        raise Misuse(
            f"the guest has no room for {what}: its files lie in its memory of {memory_mib} MiB",
            evidence=f"{what} has {size / _MIB:.1f} MiB",
            advice=f"--memory {asked}; in pytest --kh-memory {asked}",
        ) from None
