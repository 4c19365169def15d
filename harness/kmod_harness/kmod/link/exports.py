"""The addresses of exported symbols, to which a module's undefined symbols are bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from kmod_harness.kmod.addresses import KERNEL_IMAGE_BASE
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.layout.predict import Layout
from kmod_harness.kmod.link.relocation import LinkedModule, Resolve
from kmod_harness.kmod.symbols.symbol_files import Kallsyms, KallsymsEntry, SystemMap

_EXPORT_RECORD = "__ksymtab_"


def kernel_exports(symbols: SystemMap | Kallsyms, slide: int = 0) -> dict[str, int]:
    """Returns name -> address of the symbols in the kernel image that a module may be bound to.

    symbols: a System.map, or the running kernel's kallsyms
    slide: KASLR's slide in bytes with a System.map, 0 with kallsyms

    Per-CPU symbols, which are offsets below the kernel image, do not slide. Only exported names are returned
    when the table tells them (`__ksymtab_NAME`), else every global one. A global symbol takes precedence over
    local ones of the same name.
    """
    entries = symbols.kernel if isinstance(symbols, Kallsyms) else symbols.entries
    exported = {entry.name for entry in entries if entry.name.startswith(_EXPORT_RECORD)}
    addresses: dict[str, int] = {}
    for entry in entries:
        if entry.type.islower() and entry.type not in "uvw":
            continue
        if not exported or _EXPORT_RECORD + entry.name in exported:
            moved = slide if entry.address >= KERNEL_IMAGE_BASE else 0
            addresses.setdefault(entry.name, entry.address + moved)
    return addresses


def module_exports(linked: LinkedModule) -> dict[str, int]:
    """Returns name -> address of the exports of a linked module."""
    return {name: linked.symbol_address(name) for name in linked.module.exports}


def loaded_exports(entries: Iterable[KallsymsEntry], exports: Iterable[str]) -> dict[str, int]:
    """Returns name -> address of a loaded module's exports, by its kallsyms entries and its .ko."""
    wanted = set(exports)
    return {entry.name: entry.address for entry in entries if entry.name in wanted}


def resolver(kernel: Mapping[str, int], modules: Mapping[str, Mapping[str, int]]) -> Resolve:
    """Returns the function with which `link` binds undefined symbols.

    kernel: name -> address, by `kernel_exports`
    modules: module -> its exports, the module loaded last first (`find_symbol`: the kernel, then the list of
        modules)

    The function returns address and image: `vmlinux`, `per-CPU` for offsets below the kernel image, or the
    module's name.
    """

    def resolve(name: str) -> tuple[int, str] | None:
        if name in kernel:
            address = kernel[name]
            return address, "vmlinux" if address >= KERNEL_IMAGE_BASE else "per-CPU"
        for module, exports in modules.items():
            if name in exports:
                return exports[name], module
        return None

    return resolve


def percpu_address(module: KernelModule, layout: Layout, entries: Iterable[KallsymsEntry]) -> int | None:
    """Returns the address of a loaded module's per-CPU section, an offset into each CPU's area, by kallsyms.

    sysfs does not show it. None: the module has no such section, or kallsyms (without KALLSYMS_ALL) lists no
    symbol of it.
    """
    if layout.percpu is None:
        return None
    values = {s.name: s.value for s in module.symbol_table if s.section_index == layout.percpu and s.name}
    # another symbol may have the same name: the base that most symbols agree on is taken
    votes = Counter(entry.address - values[entry.name] for entry in entries if entry.name in values)
    return votes.most_common(1)[0][0] if votes else None
