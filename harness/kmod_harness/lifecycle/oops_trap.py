"""The oops trap: the failing state is kept where the kernel oopses, before the task and its stack are gone.

Imports little, since every run imports it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kmod_harness.lifecycle.slide import linked_address, slide_from_outside
from kmod_harness.machine.gdb.trap import OOPS_EXIT, Trap

if TYPE_CHECKING:
    from kmod_harness.build.kernel.kernel import Kernel
    from kmod_harness.machine.machine import Machine

#: Kinds of splats that come with an oops. A test that expects one of them expects the oops.
KINDS_OF_OOPS = frozenset(("OOPS", "BUG", "PANIC", "KASAN", "SLAB_CORRUPTION"))


def set_oops_trap(
    machine: Machine, kernel: Kernel, slide: int | None, keep: Callable[[Path], None]
) -> Trap | None:
    """Has the guest's state kept at its kernel's next oops; `keep` is then given the directory.

    `slide` is the kernel's in bytes, None to read it from outside. Returns the trap, None for a kernel
    without vmlinux. Raises QemuDied, UnmappedAddress, KernelNotFound.
    """
    address = linked_address(kernel, OOPS_EXIT) if kernel.vmlinux is not None else None
    if address is None:
        return None
    if slide is None:
        slide = slide_from_outside(machine, kernel)

    def act() -> None:
        from kmod_harness.lifecycle.failing_state import keep_guest  # lazy

        directory = keep_guest(machine, kernel, memory=False)
        if directory is not None:
            keep(directory)

    trap = Trap(machine, address + slide, act)
    machine.watch.set_trap(trap)
    return trap
