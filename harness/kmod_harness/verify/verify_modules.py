"""Verification of loaded modules: sysfs is read while the guest runs, memory while it is stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kmod_harness.build.kernel.kconfig import parse_config
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.errors import KmodHarnessError
from kmod_harness.guest.guest import Guest
from kmod_harness.kmod.addresses import MODULES_BASE_FIXED, MODULES_END
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.symbols.symbol_files import Kallsyms, SystemMap
from kmod_harness.machine.memory.guest_memory import GuestMemory
from kmod_harness.machine.memory.kernel_place import LINKED_TEXT, KernelNotFound
from kmod_harness.releases.release import release_pair
from kmod_harness.verify.one_module import verify_module
from kmod_harness.verify.outside.kernel_state import KernelState
from kmod_harness.verify.outside.running_symbols import (
    KernelFilesMismatch,
    kernel_symbols,
    mismatch_of,
    read_system_map,
    require_same_kernel,
)
from kmod_harness.verify.outside.stopped_guest import (
    CachedMemory,
    KernelOptions,
    ModuleNotInMemory,
    StoppedGuest,
    exports_by_kallsyms,
    locate_modules,
    symbol_resolver,
    sysfs_sections,
)
from kmod_harness.verify.report import Report


def verify_modules(
    guest: Guest, kernel: Kernel, targets: Sequence[KernelModule], known: Sequence[KernelModule] = ()
) -> Report:
    """Verifies loaded modules byte by byte and returns the report.

    guest: the guest they are loaded in
    kernel: its kernel
    targets: files of the modules to verify
    known: files of other loaded modules, whose exports the targets may use

    The guest is stopped while its memory is read, and goes on afterwards. Raises ModuleNotInMemory, and what
    ends the machine. What cannot be verified is in the report's `limits`.
    """
    started = time.monotonic()
    options = kernel_options(kernel)
    system_map, limits = _system_map(guest, kernel)
    kallsyms = None if system_map is not None else _kallsyms(guest)
    release = release_pair(kernel.release)
    shown = {module.name: sysfs_sections(guest, module) for module in targets}
    with GuestMemory(guest.machine) as memory:
        stopped = _stopped_guest(memory, system_map, kallsyms, options, (*known, *targets), release)
        _require_present(targets, stopped)
        modules = tuple(verify_module(stopped, module.name, *shown[module.name]) for module in targets)
    limits = (*limits, *stopped.symbols.limits)
    return Report(modules, stopped.slide, stopped.symbols.source, limits, time.monotonic() - started)


def kernel_options(kernel: Kernel) -> KernelOptions:
    """Returns the options in a kernel's configuration, usual ones for a kernel without configuration."""
    if kernel.config is None:
        return KernelOptions()
    config = parse_config(kernel.config.read_text())
    return KernelOptions(
        unload=config.get("MODULE_UNLOAD") == "y",
        kallsyms=config.get("KALLSYMS") == "y",
        kallsyms_all=config.get("KALLSYMS_ALL") == "y",
        vmx_names=config.get("X86_VMX_FEATURE_NAMES") == "y",
    )


def _system_map(guest: Guest, kernel: Kernel) -> tuple[SystemMap | None, tuple[KmodHarnessError, ...]]:
    """Returns the System.map if it is the running kernel's; otherwise None, and why it is not."""
    system_map = read_system_map(kernel)
    if system_map is None:
        return None, ()
    with GuestMemory(guest.machine) as memory:
        try:
            slide = memory.slide(system_map.address_of.get("_text", LINKED_TEXT))
            require_same_kernel(kernel, system_map, slide, memory.read_virtual)
        except KernelFilesMismatch as mismatch:
            return None, (mismatch,)
        except KernelNotFound as misplaced:
            return None, (mismatch_of(kernel, "no slide fits its _text", misplaced.message),)
    return system_map, ()


def _kallsyms(guest: Guest) -> Kallsyms | None:
    try:
        return guest.kallsyms()
    except FileNotFoundError:
        return None


def _stopped_guest(
    memory: GuestMemory,
    system_map: SystemMap | None,
    kallsyms: Kallsyms | None,
    options: KernelOptions,
    modules: Sequence[KernelModule],
    release: tuple[int, int],
) -> StoppedGuest:
    linked = system_map.address_of.get("_text", LINKED_TEXT) if system_map is not None else LINKED_TEXT
    slide = memory.slide(linked)
    symbols = kernel_symbols(system_map, kallsyms, slide)
    cache = CachedMemory(memory.read_virtual)
    places = locate_modules(
        modules,
        options,
        cache.read,
        symbols.addresses.get("modules"),
        lambda: _writable_runs(memory),
    )
    return StoppedGuest(
        memory=memory,
        kernel=KernelState(cache.read, symbols.addresses, release, options.vmx_names),
        symbols=symbols,
        places=places,
        resolve=symbol_resolver(symbols, places, exports_by_kallsyms(kallsyms, places)),
        slide=slide,
    )


def _writable_runs(memory: GuestMemory) -> list[tuple[int, bytes]]:
    """Returns address and bytes of each run of writable pages in the module range."""
    runs: list[tuple[int, int]] = []
    for page in memory.tables.walk(MODULES_BASE_FIXED, MODULES_END):
        if not page.writable or page.virtual < MODULES_BASE_FIXED:
            continue
        if runs and runs[-1][1] == page.virtual:
            runs[-1] = (runs[-1][0], page.end)
        else:
            runs.append((page.virtual, page.end))
    return [(start, memory.read_virtual(start, end - start)) for start, end in runs]


def _require_present(targets: Sequence[KernelModule], stopped: StoppedGuest) -> None:
    for module in targets:
        if module.name not in stopped.places:
            raise ModuleNotInMemory(
                f"the kernel's memory holds no module {module.name}",
                evidence=f"modules found there: {', '.join(stopped.places) or 'none'}",
                advice="it was not loaded, or hides itself",
            )
