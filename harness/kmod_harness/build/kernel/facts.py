"""The facts by which a kernel takes or refuses a module, read from its files, for the preflight."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kmod_harness.build.cached_from_files import cached_from_files
from kmod_harness.build.kernel.kconfig import NOT_SET, parse_config
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.build.kernel.own_modules import built_in_modules, lists_of_built_in
from kmod_harness.kmod.elf.module import read_module
from kmod_harness.kmod.preflight import KernelFacts
from kmod_harness.kmod.symbols.symbol_files import exported_by_symvers, parse_module_symvers


def kernel_facts(kernel: Kernel, loaded: Sequence[Path] = ()) -> KernelFacts:
    """Returns the facts about a kernel; `loaded` are .ko files loaded into it before."""
    files = [path for path in (kernel.config, kernel.symvers, *lists_of_built_in(kernel)) if path]
    told = cached_from_files("facts-1", files, lambda: _read(kernel))
    facts = KernelFacts(
        release=kernel.release,
        vermagic=told["vermagic"],
        exported=told["exported"],
        present=frozenset(told["present"]),
        crcs=told["crcs"],
    )
    for path in loaded:
        facts = facts.with_module(read_module(path))
    return facts


def _read(kernel: Kernel) -> dict[str, Any]:
    """Reads configuration, exports and built-in modules: 8,000 lines for a small kernel."""
    config = parse_config(kernel.config.read_text()) if kernel.config is not None else None
    symvers = parse_module_symvers(kernel.symvers.read_text()) if kernel.symvers is not None else None
    has_versions = (config or {}).get("MODVERSIONS") == "y"
    return {
        "vermagic": vermagic(kernel.release, config) if config is not None else None,
        "exported": exported_by_symvers(symvers) if symvers is not None else None,
        "present": sorted(built_in_modules(kernel)),
        "crcs": {entry.name: entry.crc for entry in symvers or ()} if has_versions else {},
    }


def vermagic(release: str, config: dict[str, str]) -> str | None:
    """Returns the version magic of a kernel with this release and configuration.

    By include/linux/vermagic.h (6.1). None where it holds a hash that does not follow from the configuration
    (RANDSTRUCT).
    """

    def on(symbol: str) -> bool:
        return config.get(symbol, NOT_SET) == "y"

    if on("RANDSTRUCT") or on("GCC_PLUGIN_RANDSTRUCT"):
        return None
    words = [release]
    if on("SMP"):
        words.append("SMP")
    # before 5.18 PREEMPT, since then PREEMPT_BUILD decides
    if on("PREEMPT_BUILD") or on("PREEMPT"):
        words.append("preempt")
    elif on("PREEMPT_RT"):
        words.append("preempt_rt")
    if on("MODULE_UNLOAD"):
        words.append("mod_unload")
    if on("MODVERSIONS"):
        words.append("modversions")
    # the kernel's string ends with a blank where the architecture adds no word
    return " ".join(words) + " "
