"""Comparison of /proc/kallsyms with the files built: a module with its .ko, the kernel with System.map."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from kmod_harness.kmod.addresses import KERNEL_IMAGE_BASE, MODULES_BASE_FIXED, MODULES_END
from kmod_harness.kmod.elf.module import KernelModule, Section, Symbol
from kmod_harness.kmod.mismatches import Mismatch, MismatchKind
from kmod_harness.kmod.symbols.symbol_files import Kallsyms, KallsymsEntry, SymbolTableError, SystemMap

#: Number of differing symbols that a KernelComparison names.
FIRST_DIFFERENCES = 20
_PERCPU = ".data..percpu"
#: Sections that lose SHF_ALLOC during the load (kernel/module/main.c, rewrite_section_headers, 6.1).
_DROPPED = (".modinfo", "__versions")


@dataclass(frozen=True)
class SymbolDifference:
    """A kernel symbol that is not at its System.map address plus the slide.

    name: name of the symbol
    expected: expected address
    found: addresses in kallsyms, sorted
    """

    name: str
    expected: int
    found: tuple[int, ...]


@dataclass(frozen=True)
class KernelComparison:
    """The result of comparing System.map with /proc/kallsyms.

    slide: KASLR's slide in bytes
    equal: number of symbols at the expected address
    different: number of symbols at another address
    absent: number of symbols that kallsyms does not list (scripts/kallsyms.c leaves some out; without
        KALLSYMS_ALL, all data)
    first_different: the first symbols at another address
    """

    slide: int
    equal: int
    different: int
    absent: int
    first_different: tuple[SymbolDifference, ...]


def kallsyms_slide(system_map: SystemMap, kallsyms: Kallsyms) -> int:
    """Returns the KASLR slide in bytes: the distance of `_text`, else the one most unique symbols agree on.

    Raises AddressesHidden when kallsyms shows zeros, SymbolTableError when no symbol is in both.
    """
    kallsyms.require_addresses()
    linked, running = system_map.address_of, kallsyms.kernel_address_of
    if "_text" in linked and "_text" in running:
        return running["_text"] - linked["_text"]
    votes = Counter(
        running[name] - address
        for name, address in linked.items()
        if address >= KERNEL_IMAGE_BASE and name in running
    )
    if not votes:
        raise SymbolTableError("System.map and /proc/kallsyms have no symbol of the kernel image in common")
    return votes.most_common(1)[0][0]


def compare_kernel_symbols(system_map: SystemMap, kallsyms: Kallsyms) -> KernelComparison:
    """Compares each symbol of System.map with /proc/kallsyms, with one slide for the whole kernel.

    Per-CPU symbols are linked from address 0, below the kernel image, and do not slide (6.1:
    KALLSYMS_ABSOLUTE_PERCPU, scripts/kallsyms.c). Raises AddressesHidden when kallsyms shows zeros,
    SymbolTableError when no symbol is in both.
    """
    slide = kallsyms_slide(system_map, kallsyms)
    running: dict[str, set[int]] = defaultdict(set)
    for entry in kallsyms.kernel:
        running[entry.name].add(entry.address)
    equal = different = absent = 0
    first: list[SymbolDifference] = []
    for entry in system_map.entries:
        expected = entry.address + slide if entry.address >= KERNEL_IMAGE_BASE else entry.address
        found = running.get(entry.name)
        if found is None:
            absent += 1
        elif expected in found:
            equal += 1
        else:
            different += 1
            if len(first) < FIRST_DIFFERENCES:
                first.append(SymbolDifference(entry.name, expected, tuple(sorted(found))))
    return KernelComparison(slide, equal, different, absent, tuple(first))


def compare_module_symbols(
    module: KernelModule,
    section_addresses: Mapping[str, int],
    entries: Iterable[KallsymsEntry],
    *,
    module_range: tuple[int, int] = (MODULES_BASE_FIXED, MODULES_END),
    kallsyms_all: bool = True,
    loading: bool = False,
) -> tuple[Mismatch, ...]:
    """Returns the mismatches of a loaded module's kallsyms entries with its .ko.

    A symbol is expected at its section's address plus its ELF value.

    module: file of the module
    section_addresses: name -> address, by /sys/module/NAME/sections
    entries: kallsyms entries of the module
    module_range: first address and end of the range its symbols have to lie in
    kallsyms_all: whether the kernel also lists data symbols
    loading: True before init has returned, when kallsyms may show the full symbol table

    Rules: `is_core_symbol` and `add_kallsyms`, kernel/module/kallsyms.c, 6.1.
    """
    shown = [entry for entry in entries if entry.name]
    sections = {section.name: section for section in module.sections}
    expected: dict[str, list[int]] = defaultdict(list)
    floating: list[Symbol] = []  # kept at an address that neither the file nor sysfs gives
    for symbol in module.symbols:
        section = sections.get(symbol.section or "")
        if section is None or not _kept(section, kallsyms_all):
            continue
        base = section_addresses.get(section.name)
        if section.name == _PERCPU or base is None:
            floating.append(symbol)
        else:
            expected[symbol.name].append((base + symbol.value) & 0xFFFFFFFFFFFFFFFF)
    mismatches = list(_floating_mismatches(floating, shown, section_addresses))
    floating_names = {symbol.name for symbol in floating}
    tolerated = floating_names | ({symbol.name for symbol in module.symbols} if loading else set())
    found: dict[str, list[int]] = defaultdict(list)
    for entry in shown:
        found[entry.name].append(entry.address)
    for name in dict.fromkeys([*expected, *found]):
        mismatches += _name_mismatches(name, expected.get(name, []), found.get(name, []), name in tolerated)
    mismatches += _range_mismatches(module, shown, module_range)
    return tuple(mismatches)


def _kept(section: Section, kallsyms_all: bool) -> bool:
    """Returns whether the kernel keeps this section's symbols after init (`is_core_symbol`)."""
    if section.name == _PERCPU:
        return kallsyms_all
    if not section.allocated or section.init or section.name in _DROPPED:
        return False
    return kallsyms_all or section.executable


def _name_mismatches(name: str, expected: list[int], found: list[int], tolerated: bool) -> Iterator[Mismatch]:
    """Compares the addresses of one name as multisets: static symbols of several files may share it."""
    missing = sorted((Counter(expected) - Counter(found)).elements())
    surplus = sorted((Counter(found) - Counter(expected)).elements())
    for wanted, seen in zip(missing, surplus, strict=False):
        yield Mismatch(
            MismatchKind.SYMBOL_ADDRESS,
            name,
            f"{name} is at {seen:#x}, expected at {wanted:#x} (its section's address plus its ELF value)",
            expected=f"{wanted:#x}",
            found=f"{seen:#x}",
        )
    for wanted in missing[len(surplus) :]:
        yield Mismatch(
            MismatchKind.SYMBOL_MISSING,
            name,
            f"{name} is not in kallsyms, expected at {wanted:#x}",
            expected=f"{wanted:#x}",
        )
    if tolerated:
        return
    for seen in surplus[len(missing) :]:
        yield Mismatch(
            MismatchKind.SYMBOL_UNEXPECTED,
            name,
            f"{name} is in kallsyms at {seen:#x}, but the .ko has no such symbol that stays after init",
            found=f"{seen:#x}",
        )


def _floating_mismatches(
    floating: list[Symbol], shown: list[KallsymsEntry], section_addresses: Mapping[str, int]
) -> Iterator[Mismatch]:
    """Yields symbols of per-CPU and empty sections that are missing, or not moved by their section's base."""
    found: dict[str, list[int]] = defaultdict(list)
    for entry in shown:
        found[entry.name].append(entry.address)
    for symbol in floating:
        if symbol.name not in found:
            yield Mismatch(MismatchKind.SYMBOL_MISSING, symbol.name, f"{symbol.name} is not in kallsyms")
    once = Counter(symbol.name for symbol in floating)
    bases: dict[str, Counter[int]] = defaultdict(Counter)
    alone = [s for s in floating if once[s.name] == 1 and len(found.get(s.name, [])) == 1]
    for symbol in alone:
        bases[symbol.section or ""][found[symbol.name][0] - symbol.value] += 1
    for symbol in alone:
        base = bases[symbol.section or ""].most_common(1)[0][0]
        seen = found[symbol.name][0]
        if seen - symbol.value != base:
            yield Mismatch(
                MismatchKind.SYMBOL_ADDRESS,
                symbol.name,
                f"{symbol.name} is at {seen:#x}, the rest of {symbol.section} says {base + symbol.value:#x}",
                expected=f"{base + symbol.value:#x}",
                found=f"{seen:#x}",
            )


def _range_mismatches(
    module: KernelModule, shown: list[KallsymsEntry], module_range: tuple[int, int]
) -> Iterator[Mismatch]:
    start, end = module_range
    percpu = {symbol.name for symbol in module.symbols if symbol.section == _PERCPU}
    for entry in shown:
        if entry.name in percpu or start <= entry.address < end:
            continue
        yield Mismatch(
            MismatchKind.SYMBOL_OUT_OF_RANGE,
            entry.name,
            f"{entry.name} is at {entry.address:#x}, outside of the module range {start:#x}-{end:#x}",
            expected=f"{start:#x}-{end:#x}",
            found=f"{entry.address:#x}",
        )
