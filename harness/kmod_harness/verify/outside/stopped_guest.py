"""The stopped guest that modules are verified against: memory, symbols, and where each module lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kmod_harness.errors import KmodHarnessError, MachineFailure, Misuse
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.loaded_module import LoadedModule
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.layout.predict import Layout, predict_layout
from kmod_harness.kmod.link.exports import resolver
from kmod_harness.kmod.link.relocation import Resolve
from kmod_harness.kmod.symbols.symbol_files import Kallsyms
from kmod_harness.machine.memory.guest_memory import GuestMemory
from kmod_harness.verify.outside.kernel_state import KernelState
from kmod_harness.verify.outside.percpu_section import percpu_base
from kmod_harness.verify.outside.running_symbols import KernelSymbols
from kmod_harness.verify.outside.struct_module import anchors_of, find_struct, module_structs

Read = Callable[[int, int], bytes]

_PAGE = 4096


class ModuleNotInMemory(MachineFailure):
    """The kernel's memory holds no module of this name."""


class SectionsHidden(Misuse):
    """sysfs does not show where a module's sections lie."""


@dataclass(frozen=True)
class KernelOptions:
    """Kernel options that decide a module's layout, and one that decides the layout of `struct cpuinfo_x86`.

    unload: MODULE_UNLOAD
    kallsyms: KALLSYMS
    kallsyms_all: KALLSYMS_ALL
    vmx_names: X86_VMX_FEATURE_NAMES
    """

    unload: bool = True
    kallsyms: bool = True
    kallsyms_all: bool = True
    vmx_names: bool = True


@dataclass(frozen=True)
class ModuleLocation:
    """A loaded module and where it lies, read from outside.

    module: file of the module
    layout: its predicted layout
    struct: address of its `struct module`
    anchors: block -> address
    addresses: section index -> address; of the per-CPU section the offset in each CPU's area
    """

    module: KernelModule
    layout: Layout
    struct: int
    anchors: Mapping[str, int]
    addresses: Mapping[int, int] = field(repr=False)

    def with_sysfs_anchors(self, shown: Mapping[str, int]) -> ModuleLocation:
        """Returns this location, with sysfs's addresses for blocks that memory does not tell.

        Such a block is init, when the module has no init function.
        """
        told = {block: at for block, at in self.layout.anchors(shown).items() if block not in self.anchors}
        anchors = {**self.anchors, **told}
        return replace(self, anchors=anchors, addresses={**self.addresses, **self.layout.addresses(anchors)})

    def exports(self) -> dict[str, int]:
        """Returns name -> address of the symbols it exports."""
        return {
            symbol.name: self.addresses[symbol.section_index] + symbol.value
            for symbol in self.module.symbol_table
            if symbol.name in self.module.exports and symbol.section_index in self.addresses
        }


@dataclass(frozen=True)
class StoppedGuest:
    """A stopped guest, with everything that verification of its modules reads.

    memory: memory of the guest
    kernel: state of its kernel
    symbols: the kernel's symbols
    places: name -> location of each loaded module whose file is known
    resolve: function that binds undefined symbols
    slide: KASLR's slide in bytes
    """

    memory: GuestMemory = field(repr=False)
    kernel: KernelState = field(repr=False)
    symbols: KernelSymbols = field(repr=False)
    places: Mapping[str, ModuleLocation] = field(repr=False)
    resolve: Resolve = field(repr=False)
    slide: int


class CachedMemory:
    """Memory of the stopped guest, in which each page is read once."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._pages: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        """Returns bytes of virtual memory. Raises what the function `read` raises."""
        first = address // _PAGE
        last = (address + max(size, 1) - 1) // _PAGE
        missing = [page for page in range(first, last + 1) if page not in self._pages]
        if missing:
            start, stop = missing[0], missing[-1] + 1
            data = self._read(start * _PAGE, (stop - start) * _PAGE)
            for page in range(start, stop):
                at = (page - start) * _PAGE
                self._pages[page] = data[at : at + _PAGE]
        whole = b"".join(self._pages[page] for page in range(first, last + 1))
        return whole[address - first * _PAGE :][:size]


def locate_modules(
    modules: Sequence[KernelModule],
    options: KernelOptions,
    read: Read,
    list_head: int | None,
    regions: Callable[[], Sequence[tuple[int, bytes]]],
) -> dict[str, ModuleLocation]:
    """Returns name -> location of the modules that are loaded.

    modules: files of modules
    options: the kernel's options
    read: function that reads memory
    list_head: address of the kernel's list `modules`, None where it is not known
    regions: function that returns the writable pages of the module range; without `list_head` they are
        searched for each `struct module`
    """
    structs = module_structs(read, list_head) if list_head else {}
    searched = None if list_head else regions()
    found: dict[str, ModuleLocation] = {}
    for module in modules:
        struct = structs.get(module.name)
        if searched is not None:
            struct = find_struct(module.name, iter(searched))
        if struct is None:
            continue
        layout = predict_layout(
            module,
            unload=options.unload,
            kallsyms=options.kallsyms,
            kallsyms_all=options.kallsyms_all,
        )
        anchors = anchors_of(module, layout, struct, read)
        addresses = layout.addresses(anchors)
        if layout.percpu is not None:
            base = percpu_base(module, layout.percpu, struct, addresses, read)
            addresses |= {layout.percpu: base} if base is not None else {}
        found[module.name] = ModuleLocation(module, layout, struct, anchors, addresses)
    return found


def exports_by_kallsyms(
    kallsyms: Kallsyms | None, known: Mapping[str, ModuleLocation]
) -> dict[str, dict[str, int]]:
    """Returns module -> name -> address of the exports of loaded modules whose files are not known."""
    if kallsyms is None:
        return {}
    found: dict[str, dict[str, int]] = {}
    for name in kallsyms.modules:
        if name in known:
            continue
        entries = kallsyms.of_module(name)
        exported = {entry.name for entry in entries if entry.name.startswith("__ksymtab_")}
        found[name] = {
            entry.name: entry.address for entry in entries if f"__ksymtab_{entry.name}" in exported
        }
    return found


def symbol_resolver(
    symbols: KernelSymbols, places: Mapping[str, ModuleLocation], others: Mapping[str, Mapping[str, int]]
) -> Resolve:
    """Returns a function that binds symbols as find_symbol does: the kernel first, then the newest module."""
    modules = {name: place.exports() for name, place in reversed(list(places.items()))}
    return resolver(symbols.exports, {**modules, **others})


def sysfs_sections(guest: Guest, module: KernelModule) -> tuple[dict[str, int], KmodHarnessError | None]:
    """Returns section -> address as sysfs shows them; {} and the reason where it shows none."""
    shown = LoadedModule(guest, module).sections
    if any(shown.values()):
        return shown, None
    name = module.name
    return {}, SectionsHidden(
        f"{name}: what the kernel shows of its sections cannot be compared with the prediction",
        evidence="every address reads 0" if shown else f"no /sys/module/{name}/sections",
        advice="sysfs shows addresses to root with kernel.kptr_restrict at 0 or 1, on a kernel with "
        "CONFIG_KALLSYMS; the prediction is anchored at the kernel's own list of modules instead",
    )
