"""Relocation of a module as the kernel does it on x86-64: an independent linker.

Sources, Linux 6.1.192: kernel/module/main.c (simplify_symbols, apply_relocations),
arch/x86/kernel/module.c (__apply_relocate_add); 6.12.117 computes the same. The formulas are those of the
System V ABI for x86-64: S the symbol's address, A the addend, P the place that is written.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kmod_harness.errors import ModuleFileError
from kmod_harness.kmod.elf.module import KernelModule, Section
from kmod_harness.kmod.elf.symbol_table import SHN_ABS, SHN_COMMON, SHN_LIVEPATCH, SHN_UNDEF, TableSymbol
from kmod_harness.kmod.layout.predict import Layout

#: An undefined symbol's name -> its address and image (`vmlinux`, a module's name, `per-CPU`); None: unknown.
Resolve = Callable[[str], tuple[int, str] | None]

#: `Elf64_Rela`: offset, symbol index << 32 | type, addend.
_RELA = struct.Struct("<QQq")
_MASK64 = (1 << 64) - 1
#: Sections that livepatch applies, not the loader (include/uapi/linux/elf.h, 6.1).
_SHF_RELA_LIVEPATCH = 0x00100000
_UNDEFINED_BUT_IGNORED = "_GLOBAL_OFFSET_TABLE_"  # ignore_undef_symbol


@dataclass(frozen=True)
class Formula:
    """A relocation type.

    name: name in the ABI
    size: bytes written
    relative: whether P is subtracted
    fits: `unsigned` or `signed` as the kernel checks 32 bits, "" where it checks nothing (PC32: `#if 0`)
    """

    name: str
    size: int
    relative: bool = False
    fits: str = ""


#: Every type the kernel supports.
FORMULAS: Mapping[int, Formula] = {
    0: Formula("R_X86_64_NONE", 0),
    1: Formula("R_X86_64_64", 8),
    2: Formula("R_X86_64_PC32", 4, relative=True),
    4: Formula("R_X86_64_PLT32", 4, relative=True),
    10: Formula("R_X86_64_32", 4, fits="unsigned"),
    11: Formula("R_X86_64_32S", 4, fits="signed"),
    24: Formula("R_X86_64_PC64", 8, relative=True),
}


class LinkError(ModuleFileError):
    """The module cannot be relocated; the kernel would refuse it as well."""


class UnknownRelocation(LinkError):
    """A relocation type that the kernel does not support: ENOEXEC, `Unknown rela relocation`."""


class NonZeroTarget(LinkError):
    """The bytes to be relocated are not zero: ENOEXEC, `Skipping invalid relocation target`."""


class RelocationOverflow(LinkError):
    """The value does not fit 32 bits: ENOEXEC, `overflow in relocation type`."""


class UnresolvedSymbol(LinkError):
    """An undefined symbol that nobody exports: ENOENT, `Unknown symbol`. `names` holds all of them."""

    names: tuple[str, ...] = ()


class Relocation(NamedTuple):
    """One entry of a `.rela` section.

    section: section whose bytes are written
    offset: bytes from its start
    type: number of the relocation type
    symbol: name of the symbol; for a section symbol the section's name
    symbol_index: index in the file's symbol table
    addend: number added to the symbol's address
    """

    section: Section
    offset: int
    type: int
    symbol: str
    symbol_index: int
    addend: int

    @property
    def type_name(self) -> str:
        """`R_X86_64_PC32` and its like; the number of a type the kernel does not support."""
        formula = FORMULAS.get(self.type)
        return formula.name if formula else str(self.type)


class BoundRelocation(NamedTuple):
    """A relocation with addresses.

    where: address that is written
    what: the entry of the file
    value: unsigned number that those bytes hold afterwards, little-endian
    size: bytes written, 0 for R_X86_64_NONE
    bound_to: name of the symbol, for a section symbol the section's name
    image: `vmlinux`, the module that has the symbol, `per-CPU`, or `absolute` (also for a weak undefined
        symbol, which is 0)
    target: address of the symbol, without the addend
    """

    where: int
    what: Relocation
    value: int
    size: int
    bound_to: str
    image: str
    target: int


@dataclass(frozen=True)
class LinkedSection:
    """A section right after relocation.

    section: the section in the file
    block: block it lies in
    address: address of its first byte
    data: its bytes; zeros for SHT_NOBITS
    """

    section: Section
    block: str
    address: int
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class LinkedModule:
    """A module at its addresses, before anything is patched.

    module: the module
    layout: its layout
    addresses: section index -> address
    sections: sections that are kept and have an address, in the file's order
    relocations: relocations in the order in which the kernel applies them
    unbound: relocations whose symbol has no known address (in an unknown init block or per-CPU area, or a
        dropped section); their bytes are zeros in `data`
    symbol_values: address of each entry of the symbol table, None where none is known
    """

    module: KernelModule
    layout: Layout
    addresses: Mapping[int, int] = field(repr=False)
    sections: tuple[LinkedSection, ...] = field(repr=False)
    relocations: tuple[BoundRelocation, ...] = field(repr=False)
    unbound: tuple[Relocation, ...] = field(repr=False)
    symbol_values: tuple[int | None, ...] = field(repr=False)

    def section(self, name: str) -> LinkedSection | None:
        """Returns the first linked section of that name."""
        return next((linked for linked in self.sections if linked.section.name == name), None)

    def symbol_address(self, name: str) -> int:
        """Returns the address of the first symbol of that name which the module defines. Raises KeyError."""
        for symbol, value in zip(self.module.symbol_table, self.symbol_values, strict=True):
            if symbol.name == name and value is not None and symbol.section_index != SHN_UNDEF:
                return value
        raise KeyError(f"{self.module.name} defines no symbol {name} in a section that has an address")


def relocations_of(module: KernelModule, layout: Layout) -> Iterator[Relocation]:
    """Yields the relocations that the kernel applies, in its order: those of the sections it keeps.

    Those of `.data..percpu`, `.modinfo` and `__versions` are not among them (apply_relocations skips sections
    that are no longer SHF_ALLOC). Raises LinkError for a damaged relocation section.
    """
    names = [_symbol_name(symbol, module.sections) for symbol in module.symbol_table]
    for target, entries in _relocation_sections(module, layout):
        for offset, info, addend in _RELA.iter_unpack(entries):
            index = info >> 32
            if index >= len(names):
                raise LinkError(f"{module.name}: a relocation of {target.name} names symbol {index}")
            yield Relocation(target, offset, info & 0xFFFFFFFF, names[index], index, addend)


def link(
    module: KernelModule, layout: Layout, addresses: Mapping[int, int], resolve: Resolve
) -> LinkedModule:
    """Returns the module's sections at their addresses with every relocation applied.

    module: the module
    layout: its layout
    addresses: section index -> address (Layout.addresses, and the per-CPU section's offset into each CPU's
        area)
    resolve: function that binds undefined symbols

    Raises UnknownRelocation, NonZeroTarget, RelocationOverflow, UnresolvedSymbol, LinkError (damaged tables).
    """
    bindings = _bind(module, layout, addresses, resolve)
    images = {
        placed.section.index: bytearray(module.content(placed.section) or bytes(placed.section.size))
        for placed in layout.placed
        if placed.section.index in addresses
    }
    bound: list[BoundRelocation] = []
    unbound: list[Relocation] = []
    for what in relocations_of(module, layout):
        if what.section.index not in images:
            continue  # its block has no known address
        binding = bindings[what.symbol_index]
        if binding is None:
            unbound.append(what)
            continue
        address, image = binding
        where = addresses[what.section.index] + what.offset
        value, size = _apply(module, what, images[what.section.index], where, address)
        bound.append(BoundRelocation(where, what, value, size, what.symbol, image, address))
    return LinkedModule(
        module=module,
        layout=layout,
        addresses=dict(addresses),
        sections=tuple(
            LinkedSection(
                placed.section,
                placed.block,
                addresses[placed.section.index],
                bytes(images[placed.section.index]),
            )
            for placed in layout.placed
            if placed.section.index in images
        ),
        relocations=tuple(bound),
        unbound=tuple(unbound),
        symbol_values=tuple(binding[0] if binding else None for binding in bindings),
    )


def _apply(
    module: KernelModule, what: Relocation, image: bytearray, where: int, symbol: int
) -> tuple[int, int]:
    """Writes one relocation into the section's bytes; returns the unsigned value and its size."""
    formula = FORMULAS.get(what.type)
    if formula is None:
        raise UnknownRelocation(
            f"{module.name}: {_place(what)}: the kernel knows no relocation type {what.type}"
        )
    size = formula.size
    if not size:
        return 0, 0
    if what.offset + size > len(image):
        raise LinkError(f"{module.name}: {_place(what)} lies outside its section of {len(image)} bytes")
    if any(image[what.offset : what.offset + size]):
        raise NonZeroTarget(
            f"{module.name}: {_place(what)}: the bytes to be relocated are not zero",
            evidence=image[what.offset : what.offset + size].hex(" "),
        )
    full = (symbol + what.addend - (where if formula.relative else 0)) & _MASK64
    value = full & ((1 << 8 * size) - 1)
    if (formula.fits == "unsigned" and full != value) or (
        formula.fits == "signed" and full != (value - (value >> 31 << 32)) & _MASK64
    ):
        raise RelocationOverflow(
            f"{module.name}: {_place(what)}: {full:#x} does not fit {formula.name}",
            advice="modules are compiled with -mcmodel=kernel",
        )
    image[what.offset : what.offset + size] = value.to_bytes(size, "little")
    return value, size


def _place(what: Relocation) -> str:
    return f"{what.section.name}+{what.offset:#x} ({what.type_name} {what.symbol}{what.addend:+#x})"


def _relocation_sections(module: KernelModule, layout: Layout) -> Iterator[tuple[Section, bytes]]:
    kept = {placed.section.index for placed in layout.placed}
    for section in module.sections:
        if section.type == "SHT_RELA" and section.info in kept and not section.flags & _SHF_RELA_LIVEPATCH:
            entries = module.content(section)
            if len(entries) % _RELA.size:
                raise LinkError(
                    f"{module.name}: {section.name} has {len(entries)} bytes, not whole relocations"
                )
            yield module.sections[section.info], entries


def _symbol_name(symbol: TableSymbol, sections: tuple[Section, ...]) -> str:
    if symbol.kind == "SECTION" and symbol.section_index < len(sections):
        return sections[symbol.section_index].name
    return symbol.name


def _bind(
    module: KernelModule, layout: Layout, addresses: Mapping[int, int], resolve: Resolve
) -> list[tuple[int, str] | None]:
    """Returns the address and image of each symbol (simplify_symbols); None where no address is known."""
    bindings: list[tuple[int, str] | None] = []
    unknown: list[str] = []
    for index, symbol in enumerate(module.symbol_table):
        section = symbol.section_index
        if index == 0 or section in (SHN_ABS, SHN_LIVEPATCH):
            bindings.append((symbol.value, "absolute"))
        elif section == SHN_UNDEF:
            found = resolve(symbol.name)
            if found is None and symbol.binding != "WEAK" and symbol.name != _UNDEFINED_BUT_IGNORED:
                unknown.append(symbol.name)
            bindings.append(found or (symbol.value, "absolute"))
        elif section == SHN_COMMON or section >= len(module.sections):
            raise LinkError(
                f"{module.name}: symbol {symbol.name} lies in section {section:#x}, which the kernel refuses",
                advice="compile with -fno-common",
            )
        elif section in addresses:
            image = "per-CPU" if section == layout.percpu else module.name
            bindings.append(((addresses[section] + symbol.value) & _MASK64, image))
        else:
            bindings.append(None)
    if unknown:
        error = UnresolvedSymbol(
            f"{module.name} needs symbols that nobody exports: {', '.join(unknown[:10])}",
            evidence=f"{len(unknown)} of {len(module.symbol_table)} symbols",
        )
        error.names = tuple(unknown)
        raise error
    return bindings
