"""Checks that a module is live after insmod, and returns its address and size."""

from __future__ import annotations

from dataclasses import dataclass

from kmod_harness.checks.require import require
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.loaded_module import LoadedModule


@dataclass(frozen=True)
class LoadResult:
    """A live module.

    name: name of the module
    address: address of its core (from Linux 6.4 on, of its text)
    size: bytes it occupies
    state: state in /proc/modules
    taint: taint letters
    seconds: time that finit_module took
    """

    name: str
    address: int
    size: int
    state: str
    taint: str
    seconds: float


def check_loaded(guest: Guest, module: LoadedModule) -> LoadResult:
    """Checks that the module is live in /proc/modules and in sysfs, with an address and a size above 0.

    Raises CheckFailed. An address of 0 means that the reader may not see addresses (kallsyms_show_value,
    kernel/ksyms_common.c).
    """
    state = module.state
    require(
        state == "Live", f"{module.name} is not Live after its load", f"/proc/modules: {state or 'absent'}"
    )
    initstate = f"/sys/module/{module.name}/initstate"
    shown = guest.read_text(initstate).strip()
    require(shown == "live", f"sysfs does not show {module.name} as live", f"{initstate}: {shown}")
    require(module.size > 0, f"{module.name} takes {module.size} bytes")
    require(
        module.address != 0,
        f"/proc/modules hides the address of {module.name}",
        advice="read it as root with kernel.kptr_restrict at 0 or 1",
    )
    return LoadResult(module.name, module.address, module.size, state, module.taint, module.load_seconds)
