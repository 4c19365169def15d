"""KASLR's slide of a running guest, and the linked addresses of its kernel's symbols, read from outside.

Imports little, since every run imports it.
"""

from __future__ import annotations

import functools
import mmap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmod_harness.build.kernel.kernel import Kernel
    from kmod_harness.machine.machine import Machine


def slide_from_outside(machine: Machine, kernel: Kernel) -> int:
    """Returns KASLR's slide in bytes, by the page tables. Raises UnmappedAddress, KernelNotFound."""
    from kmod_harness.machine.memory.guest_memory import GuestMemory  # lazy

    linked = linked_address(kernel, "_text")
    with GuestMemory(machine) as memory:
        return memory.slide() if linked is None else memory.slide(linked)


def linked_address(kernel: Kernel, symbol: str) -> int | None:
    """Returns the address at which a kernel function was linked, None for a kernel without System.map."""
    return None if kernel.system_map is None else _address_in(kernel.system_map, symbol)


def linked_data_address(kernel: Kernel, symbol: str) -> int | None:
    """Returns the address at which a variable was linked, None for one that the kernel has not."""
    if kernel.system_map is None:
        return None
    found = (_address_in(kernel.system_map, symbol, letter) for letter in "BbDd")
    return next((address for address in found if address is not None), None)


@functools.lru_cache
def _address_in(system_map: Path, symbol: str, letter: str = "T") -> int | None:
    # searched, not parsed, which would take a hundred times as long
    with system_map.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        at = text.find(f" {letter} {symbol}\n".encode())
        return int(text[at - 16 : at], 16) if at >= 16 else None
