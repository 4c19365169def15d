"""A guest's state kept at the very place where its kernel oopses: later the task and its stack are gone.

Imports little: it stands before every run.
"""

from __future__ import annotations

import functools
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kmod_harness.machine.gdb.trap import OOPS_EXIT, Trap

if TYPE_CHECKING:
    from kmod_harness.build.kernel.known import Kernel
    from kmod_harness.machine.machine import Machine

#: Kinds of reports that come with an oops, as the tests of users name them: it would be theirs to expect.
KINDS_OF_OOPS = frozenset(("OOPS", "BUG", "PANIC", "KASAN", "SLAB_CORRUPTION"))


def set_oops_trap(
    machine: Machine, kernel: Kernel, slide: int | None, keep: Callable[[Path], None]
) -> Trap | None:
    """Has a guest's state kept when its kernel oopses next; `keep` is given the directory then.

    slide: the kernel's, in bytes, None to find it from outside. Returns the trap, None for a kernel that
    comes without vmlinux. Raises QemuDied, UnmappedAddress, KernelNotFound.
    """
    address = _linked_address(kernel, OOPS_EXIT) if kernel.vmlinux is not None else None
    if address is None:
        return None
    if slide is None:
        slide = slide_from_outside(machine, kernel)

    def act() -> None:
        from kmod_harness.lifecycle.failing_state import keep_guest

        directory = keep_guest(machine, kernel, memory=False)
        if directory is not None:
            keep(directory)

    trap = Trap(machine, address + slide, act)
    machine.watch.set_trap(trap)
    return trap


def slide_from_outside(machine: Machine, kernel: Kernel) -> int:
    """Returns KASLR's slide in bytes, from the page tables. Raises UnmappedAddress, KernelNotFound."""
    from kmod_harness.machine.memory.guest_memory import GuestMemory

    linked = _linked_address(kernel, "_text")
    with GuestMemory(machine) as memory:
        return memory.slide() if linked is None else memory.slide(linked)


def _linked_address(kernel: Kernel, symbol: str) -> int | None:
    """Returns where a function of the kernel was linked, None for a kernel without System.map."""
    return None if kernel.system_map is None else _address_in(kernel.system_map, symbol)


@functools.lru_cache
def _address_in(system_map: Path, symbol: str) -> int | None:
    # by a search that reads no more than it needs: to parse it takes a hundred times as long
    with system_map.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        at = text.find(f" T {symbol}\n".encode())
        return int(text[at - 16 : at], 16) if at >= 16 else None
