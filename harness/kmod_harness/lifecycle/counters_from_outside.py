"""The kernel's counters of its troubles, read from the memory of a guest that is dead or does not tell."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from kmod_harness.errors import MachineFailure
from kmod_harness.lifecycle.slide import linked_data_address

if TYPE_CHECKING:
    from kmod_harness.build.kernel.kernel import Kernel
    from kmod_harness.guest.guest import Guest
    from kmod_harness.klog.counters.kernel_counters import KernelCounters
    from kmod_harness.machine.machine import Machine

#: name in kernel/panic.c and kernel/exit.c -> field and size in bytes
_COUNTERS = {"tainted_mask": ("tainted", 8), "warn_count": ("warnings", 4), "oops_count": ("oopses", 4)}


def counters_of_the_silent(guest: Guest, kernel: Kernel, slide: int | None) -> KernelCounters:
    """Returns the guest's counters; from outside where the guest has ended or did not tell them.

    A live guest that tells them is not stopped for it: that would take milliseconds of every test.
    """
    counters = guest.kernel_log.counters
    machine = guest.machine
    if slide is None or (counters.tainted is not None and not machine.watch.has_ended):
        return counters
    with contextlib.suppress(MachineFailure, OSError):
        return replace(counters, **_read(machine, kernel, slide))
    return counters


def _read(machine: Machine, kernel: Kernel, slide: int) -> dict[str, int]:
    """Returns the fields that the kernel has. Raises MachineFailure where its memory cannot be read."""
    from kmod_harness.machine.memory.guest_memory import GuestMemory  # lazy

    found = {}
    with GuestMemory(machine) as memory:
        for symbol, (name, size) in _COUNTERS.items():
            linked = linked_data_address(kernel, symbol)
            if linked is not None:
                found[name] = int.from_bytes(memory.read_virtual(linked + slide, size), "little")
    return found
