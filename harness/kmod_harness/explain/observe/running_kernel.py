"""The running kernel as every experiment needs it: symbols, ranges, configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kmod_harness.build.kernel.kconfig import parse_config
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.explain.observed.observations import AddressSpace, Region
from kmod_harness.guest.guest import Guest
from kmod_harness.kmod.addresses import (
    KERNEL_IMAGE_BASE,
    MODULES_BASE_FIXED,
    MODULES_BASE_RANDOMIZED,
    MODULES_END,
)
from kmod_harness.kmod.symbols.symbol_files import KallsymsEntry
from kmod_harness.machine.memory.guest_memory import GuestMemory
from kmod_harness.machine.memory.kernel_place import LINKED_TEXT, kernel_slide
from kmod_harness.releases import facts
from kmod_harness.releases.release import release_pair
from kmod_harness.verify.outside.running_symbols import KernelSymbols, kernel_symbols, read_system_map
from kmod_harness.verify.outside.stopped_guest import KernelOptions
from kmod_harness.verify.verify_modules import kernel_options

#: `VMALLOC_SIZE_TB_L4`, `_L5` (pgtable_64_types.h, 6.1), and vmemmap's size by level (Documentation
#: /x86/x86_64/mm.rst), in TiB; the user half's bits.
_VMALLOC_TIB = {4: 32, 5: 12800}
_VMEMMAP_TIB = {4: 1, 5: 512}
_USER_BITS = {4: 47, 5: 56}
_TIB = 1 << 40
#: THREAD_SIZE without KASAN (page_64_types.h, 6.1)
_STACK_SIZE = 16384
#: The running task's pointer in the per-CPU area: a symbol of its own up to 6.1, the first field of
#: `pcpu_hot` from 6.2 on (arch/x86/include/asm/current.h).
_CURRENT = ("current_task", "pcpu_hot")
#: Starts of vmalloc and vmemmap: variables of a kernel that moves them (DYNAMIC_MEMORY_LAYOUT), else the
#: constants for four levels (pgtable_64_types.h, 6.1).
_BASES = {"vmalloc_base": 0xFFFFC90000000000, "vmemmap_base": 0xFFFFEA0000000000}


@dataclass(frozen=True)
class RunningKernel:
    """The kernel of a booted guest.

    kernel: its files
    options: its options for modules
    symbols: its symbols
    slide: KASLR's slide in bytes
    randomize_base: whether RANDOMIZE_BASE is set, None when unknown
    source: path of its source, "" when unknown
    has_debug_info: whether it has a vmlinux with DWARF, by which gdb unwinds stacks
    """

    kernel: Kernel
    options: KernelOptions
    symbols: KernelSymbols = field(repr=False)
    slide: int
    randomize_base: bool | None
    source: str
    has_debug_info: bool

    @property
    def module_range(self) -> Region:
        """MODULES_VADDR..MODULES_END; RANDOMIZE_BASE is assumed where the configuration is unknown."""
        base = MODULES_BASE_FIXED if self.randomize_base is False else MODULES_BASE_RANDOMIZED
        return Region("module range", base, MODULES_END, "where modules go")

    @property
    def image(self) -> Region:
        """The kernel image, from `_text` to `_end`."""
        addresses = self.symbols.addresses
        return Region("kernel image", addresses.get("_text", 0), addresses.get("_end", 0), "vmlinux")

    @property
    def current_offset(self) -> int | None:
        """Offset of the pointer to the running task from GS's base; None when no symbol gives it."""
        return next(
            (self.symbols.addresses[name] for name in _CURRENT if name in self.symbols.addresses), None
        )

    @property
    def stack_size(self) -> int:
        """THREAD_SIZE in bytes, by the first task's stack (include/asm-generic/vmlinux.lds.h, 6.1)."""
        addresses = self.symbols.addresses
        for name in ("init_task", "init_stack"):
            start, end = addresses.get(f"__start_{name}"), addresses.get(f"__end_{name}")
            if start and end:
                return end - start
        return _STACK_SIZE


def read_running_kernel(guest: Guest, kernel: Kernel) -> RunningKernel:
    """Returns the kernel of a booted guest. Raises KernelSymbolsHidden when its symbols are hidden."""
    system_map = read_system_map(kernel)
    kallsyms = guest.kallsyms() if system_map is None and guest.exists("/proc/kallsyms") else None
    linked = system_map.address_of.get("_text", LINKED_TEXT) if system_map is not None else LINKED_TEXT
    with GuestMemory(guest.machine) as memory:
        slide = kernel_slide(memory.tables, linked)
    symbols = kernel_symbols(system_map, kallsyms, slide)
    if symbols.limits:
        raise symbols.limits[0]
    return RunningKernel(
        kernel,
        kernel_options(kernel),
        symbols,
        slide,
        randomize_base(kernel),
        _source(kernel),
        kernel.vmlinux is not None and _has_debug_info(kernel.vmlinux),
    )


def randomize_base(kernel: Kernel) -> bool | None:
    """Returns whether the kernel was built with RANDOMIZE_BASE, None when its configuration is not known."""
    if kernel.config is None:
        return None
    return parse_config(kernel.config.read_text()).get("RANDOMIZE_BASE") == "y"


def _has_debug_info(vmlinux: Path) -> bool:
    from elftools.elf.elffile import ELFFile  # lazy

    with vmlinux.open("rb") as file:
        return ELFFile(file).get_section_by_name(".debug_info") is not None


def _source(kernel: Kernel) -> str:
    link = (kernel.build_dir or Path()) / "source"
    return str(link.resolve()) if link.is_symlink() else ""


def address_space(guest: Guest, running: RunningKernel) -> AddressSpace:
    """Returns this boot's ranges, read from outside by the page tables and the kernel's variables."""
    modules = loaded_modules(guest, running.kernel.release)
    with GuestMemory(guest.machine) as memory:
        levels = memory.tables.levels
        bases = _bases(memory, running.symbols.addresses)
        direct = memory.direct_map
        last = max(page.physical + page.size for page in memory.tables.walk(direct, bases["vmalloc_base"]))
        vmalloc, vmemmap = bases["vmalloc_base"], bases["vmemmap_base"]
        lowest = next(iter(memory.tables.walk(running.module_range.start, MODULES_END)), None)
        return AddressSpace(
            slide=running.slide,
            user=Region("user space", 0, 1 << _USER_BITS[levels], "each process has its own"),
            direct_map=Region("direct map", direct, direct + last, "all physical memory, in order"),
            vmalloc=Region(
                "vmalloc", vmalloc, vmalloc + _VMALLOC_TIB[levels] * _TIB, "vmalloc and the kernel's stacks"
            ),
            vmemmap=Region(
                "vmemmap", vmemmap, vmemmap + _VMEMMAP_TIB[levels] * _TIB, "a struct page for each page"
            ),
            kernel_window=Region(
                "room for the kernel image",
                KERNEL_IMAGE_BASE,
                running.module_range.start,
                "where KASLR may put it",
            ),
            kernel_image=running.image,
            module_range=running.module_range,
            modules=modules,
            kernel_physical=memory.tables.page(running.image.start).physical_of(running.image.start),
            lowest_in_module_range=lowest.virtual if lowest is not None else running.module_range.end,
        )


def _bases(memory: GuestMemory, addresses: Mapping[str, int]) -> dict[str, int]:
    return {
        name: int.from_bytes(memory.read_virtual(addresses[name], 8), "little")
        if name in addresses
        else constant
        for name, constant in _BASES.items()
    }


def symbols_of(guest: Guest, module: str) -> tuple[KallsymsEntry, ...]:
    """Returns the symbols of a module in /proc/kallsyms, () on a kernel without it."""
    return guest.kallsyms().of_module(module) if guest.exists("/proc/kallsyms") else ()


def loaded_modules(guest: Guest, release: str) -> tuple[Region, ...]:
    """Returns the range of each module's core by address, without modules whose address is hidden.

    From 6.4 on it is the range of the text: /proc/modules shows its address, and the size of all blocks.
    """
    found = []
    for line in guest.read_text("/proc/modules").splitlines():
        fields = line.split()
        if len(fields) >= 6 and int(fields[5], 16):
            start = int(fields[5], 16)
            found.append(Region(fields[0], start, start + int(fields[1])))
    if facts.MEMORY_TYPES.holds(release_pair(release)):
        with GuestMemory(guest.machine) as memory:
            found = [replace(module, end=_end_of_text(memory, module)) for module in found]
    return tuple(sorted(found, key=lambda region: region.start))


def _end_of_text(memory: GuestMemory, module: Region) -> int:
    """Returns the end of the executable pages that begin at a module's text."""
    end = module.start
    for page in memory.tables.walk(module.start, module.end):
        if page.virtual > end or not page.executable:
            break
        end = page.end
    return min(end, module.end)
