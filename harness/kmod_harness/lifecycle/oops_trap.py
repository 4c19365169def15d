"""A guest's state kept at the very place where its kernel oopses: later the task and its stack are gone.

Imports little: it stands before every run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kmod_harness.lifecycle.slide import linked_address, slide_from_outside
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
    address = linked_address(kernel, OOPS_EXIT) if kernel.vmlinux is not None else None
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
