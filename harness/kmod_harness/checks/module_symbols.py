"""Checks that /proc/kallsyms shows a module's ELF symbols at the addresses of its sections."""

from __future__ import annotations

from dataclasses import dataclass

from kmod_harness.build.kernel.kconfig import parse_config
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.checks.require import require
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.loaded_module import LoadedModule
from kmod_harness.kmod.addresses import MODULES_BASE_FIXED, MODULES_BASE_RANDOMIZED, MODULES_END
from kmod_harness.kmod.symbols.compare import compare_module_symbols
from kmod_harness.kmod.symbols.symbol_files import Kallsyms


@dataclass(frozen=True)
class ModuleSymbolMatch:
    """The symbols of a module that agree in kallsyms and in the .ko.

    module: name of the module
    count: how many symbols agree
    lowest: the lowest address among them
    highest: the highest address among them
    module_range: first address and end of the range they have to lie in
    """

    module: str
    count: int
    lowest: int
    highest: int
    module_range: tuple[int, int]


def module_range(kernel: Kernel) -> tuple[int, int]:
    """Returns the first address of the kernel's module range, and its end.

    MODULES_VADDR depends on RANDOMIZE_BASE, whether booted with `nokaslr` or not (6.1,
    page_64_types.h:95-98). A kernel whose configuration is unknown gets the wider range.
    """
    if kernel.config is not None and parse_config(kernel.config.read_text()).get("RANDOMIZE_BASE") == "y":
        return MODULES_BASE_RANDOMIZED, MODULES_END
    return MODULES_BASE_FIXED, MODULES_END


def check_module_symbols(
    guest: Guest, module: LoadedModule, kernel: Kernel, *, kallsyms: Kallsyms | None = None
) -> ModuleSymbolMatch:
    """Checks that each kallsyms symbol of the module is at its section's address plus its ELF value.

    `kallsyms` is a copy read after the load (reading it takes 0.3 s). Raises CheckFailed with every
    difference; AddressesHidden when kallsyms shows zeros.
    """
    kallsyms = kallsyms or guest.kallsyms()
    kallsyms.require_addresses()
    entries = kallsyms.of_module(module.name)
    require(len(entries) > 0, f"/proc/kallsyms lists no symbol of {module.name}")
    require(len(module.sections) > 0, f"/sys/module/{module.name}/sections shows nothing to compare with")
    allowed = module_range(kernel)
    mismatches = compare_module_symbols(
        module.file,
        module.sections,
        entries,
        module_range=allowed,
        kallsyms_all=kallsyms.shows_data,
    )
    require(
        not mismatches,
        f"/proc/kallsyms and {module.file.path.name} disagree about {len(mismatches)} symbols",
        "\n".join(str(mismatch) for mismatch in mismatches[:20]),
    )
    inside = [entry.address for entry in entries if allowed[0] <= entry.address < allowed[1]]
    require(len(inside) > 0, f"no symbol of {module.name} lies in the module range")
    return ModuleSymbolMatch(module.name, len(entries), min(inside), max(inside), allowed)
