"""Workqueues that a module made and did not destroy: the kernel copied their names, and lists none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from kmod_harness.leftovers.pointers import kernel_in, stopped
from kmod_harness.leftovers.saved_ram import saved_ram
from kmod_harness.leftovers.written_ram import WrittenRam

if TYPE_CHECKING:
    from kmod_harness.kmod.elf.module import KernelModule
    from kmod_harness.leftovers.kernel_data import KernelData
    from kmod_harness.leftovers.stopped_kernel import StoppedKernel
    from kmod_harness.machine.machine import Machine

#: How the functions that make one are called; later ones have a suffix.
_MAKER = "alloc_workqueue"
#: WQ_NAME_LEN is 24 in 6.1 and 32 since 6.9; more workqueues than a kernel has.
_NAME_BYTES, _MOST = 24, 10_000


def may_lose_workqueues(module: KernelModule) -> bool:
    """Returns whether the module makes workqueues."""
    return any(symbol.name.startswith(_MAKER) for symbol in module.undefined)


def find_lost_workqueues(machine: Machine, data: KernelData, module: KernelModule) -> list[str]:
    """Returns the names of workqueues that are new since the restore and have a name that the module holds.

    [] for a machine that was not restored. Raises MachineFailure, OSError.
    """
    layout = data.layouts.get("workqueue_struct", {})
    if not {"list", "name"} <= set(layout) or "workqueues" not in data.variables:
        return []
    with saved_ram(machine) as before, stopped(machine), WrittenRam(machine) as ram:
        if before is None:
            return []
        kernel = kernel_in(machine, ram, data)
        names = set(_new_names(kernel, layout, kernel.address("workqueues"), before))
        return sorted(name for name in names if name.encode() + b"\0" in module.data)


def _new_names(
    kernel: StoppedKernel, layout: Mapping[str, int], head: int, before: Callable[[int, int], bytes]
) -> Iterator[str]:
    entry = int.from_bytes(kernel.read(head, 8), "little")
    for _ in range(_MOST):
        if entry in (head, 0):
            return
        place = entry - layout["list"] + layout["name"]
        name = kernel.read(place, _NAME_BYTES)
        if before(place - kernel.direct_map, _NAME_BYTES) != name:
            yield name.split(b"\0", 1)[0].decode(errors="replace")
        entry = int.from_bytes(kernel.read(entry, 8), "little")
