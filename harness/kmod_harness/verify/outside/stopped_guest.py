"""What a module is verified against: the stopped guest's memory and symbols, and where each module lies."""

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
from kmod_harness.verify.outside.running_symbols import KernelSymbols
from kmod_harness.verify.outside.struct_module import anchors_of, find_struct, module_structs

Read = Callable[[int, int], bytes]

_PAGE = 4096


class ModuleNotInMemory(MachineFailure):
    """The kernel's memory holds no such module."""


class SectionsHidden(Misuse):
    """sysfs does not show where a module's sections lie."""


@dataclass(frozen=True)
class KernelOptions:
    """What of the kernel's configuration decides a module's layout, and one thing about its structures."""

    unload: bool = True
    kallsyms: bool = True
    kallsyms_all: bool = True
    vmx_names: bool = True


@dataclass(frozen=True)
class ModuleLocation:
    """A loaded module: block -> address, told from outside, and section index -> address."""

    module: KernelModule
    layout: Layout
    struct: int
    anchors: Mapping[str, int]
    addresses: Mapping[int, int] = field(repr=False)

    def with_sysfs_anchors(self, shown: Mapping[str, int]) -> ModuleLocation:
        """This place, with blocks that nothing outside tells taken from sysfs: init, without a function."""
        told = {block: at for block, at in self.layout.anchors(shown).items() if block not in self.anchors}
        anchors = {**self.anchors, **told}
        return replace(self, anchors=anchors, addresses=self.layout.addresses(anchors))

    def exports(self) -> dict[str, int]:
        """Name -> address of what it exports."""
        return {
            symbol.name: self.addresses[symbol.section_index] + symbol.value
            for symbol in self.module.symbol_table
            if symbol.name in self.module.exports and symbol.section_index in self.addresses
        }


@dataclass(frozen=True)
class StoppedGuest:
    """memory: of the guest, which stands still. places: of each loaded module whose file is known, by name.

    slide: KASLR's, in bytes.
    """

    memory: GuestMemory = field(repr=False)
    kernel: KernelState = field(repr=False)
    symbols: KernelSymbols = field(repr=False)
    places: Mapping[str, ModuleLocation] = field(repr=False)
    resolve: Resolve = field(repr=False)
    slide: int


class CachedMemory:
    """Reads each page of the stopped guest once."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._pages: dict[int, bytes] = {}

    def read(self, address: int, size: int) -> bytes:
        """Bytes of virtual memory. Raises what the reading beneath raises."""
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
    """Returns where those of the modules lie that are loaded.

    list_head: address of the kernel's `modules`; where it is unknown, the struct of each is looked for in
    `regions`, the writable pages of the module range.
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
        found[module.name] = ModuleLocation(module, layout, struct, anchors, layout.addresses(anchors))
    return found


def exports_by_kallsyms(
    kallsyms: Kallsyms | None, known: Mapping[str, ModuleLocation]
) -> dict[str, dict[str, int]]:
    """Module -> name -> address of what loaded modules export whose files are not known, by kallsyms."""
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
    """Returns what binds undefined symbols, as find_symbol does: the kernel, then modules, the last first."""
    modules = {name: place.exports() for name, place in reversed(list(places.items()))}
    return resolver(symbols.exports, {**modules, **others})


def sysfs_sections(guest: Guest, module: KernelModule) -> tuple[dict[str, int], KmodHarnessError | None]:
    """Returns section -> address as sysfs shows them, and why it shows none."""
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
