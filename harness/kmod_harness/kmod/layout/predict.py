"""The place of each section of a module in memory, by the kernel's layout algorithm on the .ko alone.

Two generations: up to 6.3 one core and one init block (`struct module_layout`), from 6.4 on a block for each
memory type (`enum mod_mem_type`). Sources: kernel/module/main.c (rewrite_section_headers,
layout_and_allocate, layout_sections, move_module) and kernel/module/kallsyms.c (layout_symtab), in 6.1.192
and 6.12.117. x86-64 always has STRICT_MODULE_RWX, so pages are never shared between permissions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kmod_harness.errors import Misuse
from kmod_harness.kmod.elf.module import SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, KernelModule, Section
from kmod_harness.kmod.elf.symbol_table import ELF64_SYM
from kmod_harness.kmod.layout.placed import PAGE, PASSES, SHF_RO_AFTER_INIT, LayoutBuilder, aligned
from kmod_harness.kmod.layout.placed import PlacedSection as PlacedSection
from kmod_harness.kmod.layout.placed import Region as Region
from kmod_harness.releases import facts
from kmod_harness.releases.release import Release, UnsupportedRelease, in_words, release_pair

#: `struct mod_kallsyms` (include/linux/module.h, 6.1): two pointers, a count, a pointer.
MOD_KALLSYMS_SIZE, MOD_KALLSYMS_ALIGNMENT = 32, 8
_TAGS = "alloc_tags"
PERCPU = ".data..percpu"
_DROPPED = ("__versions", ".modinfo")
#: `ro_after_init`, kernel/module/strict_rwx.c, and its like in older releases.
_READ_ONLY_AFTER_INIT = (".data..ro_after_init", "__jump_table")
_STATIC_CALLS = ".static_call_sites"


class UnplaceableSection(Misuse):
    """A section's place does not follow from the file, or the kernel refuses the module because of it."""


@dataclass(frozen=True)
class SymbolTables:
    """The part of a block that kallsyms uses; offsets are bytes from the start of the block.

    block: the block
    symbols: offset of the array of Elf64_Sym
    strings: offset of the names
    types: offset of nm's letters
    end: offset behind them
    indices: entries of the file's symbol table that the array holds, in order
    structure: offset of `struct mod_kallsyms`, None where it lies in `struct module`
    """

    block: str
    symbols: int
    strings: int
    types: int
    end: int
    indices: tuple[int, ...] = field(repr=False)
    structure: int | None = None


@dataclass(frozen=True)
class Layout:
    """A module's memory before it has an address.

    release: release of the kernel, such as (6, 1)
    blocks: name -> bytes as allocated, 0 for a block that is not. Names up to 6.3: core, init; from 6.4 on,
        in the order of allocation: text, data, rodata, ro_after_init, init_text, init_data, init_rodata
    placed: every section that is kept, `.symtab` and `.strtab` too, in the file's order
    regions: runs of pages with one permission
    percpu: index of the per-CPU section, which lies in no block; None when there is none
    core_kallsyms: symbol tables that stay, None on a kernel without kallsyms
    init_kallsyms: symbol tables that are freed with init, None on a kernel without kallsyms
    """

    release: tuple[int, int]
    blocks: Mapping[str, int]
    placed: tuple[PlacedSection, ...]
    regions: tuple[Region, ...]
    percpu: int | None
    core_kallsyms: SymbolTables | None
    init_kallsyms: SymbolTables | None

    def addresses(self, anchors: Mapping[str, int]) -> dict[int, int]:
        """Returns section index -> address, for the blocks in `anchors` (block -> its address).

        A block of size 0 is at address 0, as in the kernel.
        """
        bases = {block: 0 for block, size in self.blocks.items() if not size} | dict(anchors)
        return {
            placed.section.index: bases[placed.block] + placed.offset
            for placed in self.placed
            if placed.block in bases
        }

    def anchors(self, section_addresses: Mapping[str, int]) -> dict[str, int]:
        """Returns block -> address from sysfs's section name -> address, by the first section of each block.

        A block without a listed section is left out.
        """
        found: dict[str, int] = {}
        for placed in self.placed:
            address = section_addresses.get(placed.section.name)
            if address is not None and placed.section.size and placed.block not in found:
                found[placed.block] = address - placed.offset
        return found

    def place(self, name: str) -> PlacedSection | None:
        """Returns the first kept section of that name."""
        return next((placed for placed in self.placed if placed.section.name == name), None)


def release_of(module: KernelModule) -> Release:
    """Returns the release a module was built for, as (6, 1). Raises UnsupportedRelease when it names none."""
    try:
        return release_pair(module.release)
    except UnsupportedRelease:
        raise UnsupportedRelease(
            f"{module.name} does not say which kernel it was built for",
            evidence=f"vermagic: {module.vermagic!r}",
        ) from None


def predict_layout(
    module: KernelModule,
    release: tuple[int, int] | None = None,
    *,
    unload: bool = True,
    kallsyms: bool = True,
    kallsyms_all: bool = True,
) -> Layout:
    """Returns the layout of a module in a kernel of that release.

    module: the module
    release: such as (6, 12), None for the release the module was built for
    unload: whether the kernel has MODULE_UNLOAD; without it `.exit*` goes with init
    kallsyms: whether it has KALLSYMS
    kallsyms_all: whether it has KALLSYMS_ALL

    Raises UnsupportedRelease before 5.2. Raises UnplaceableSection for a section that is writable and
    executable, which the kernel refuses (module_enforce_rwx_sections), and for allocation tags from 6.13 on.
    """
    release = release or release_of(module)
    if not facts.TYPES_OF_SYMBOLS.holds(release):
        raise UnsupportedRelease(
            f"the module layout of Linux {in_words(release)} is not known to the harness",
            advice=f"supported: {in_words(facts.TYPES_OF_SYMBOLS.since)} and later",
        )
    flags = _loader_flags(module, release)
    for section in module.sections:
        if flags[section.index] & SHF_WRITE and flags[section.index] & SHF_EXECINSTR:
            raise UnplaceableSection(
                f"{module.name}: section {section.name} is writable and executable; the kernel refuses that"
            )
        if section.name == _TAGS and section.size and section.allocated and facts.TAGS_APART.holds(release):
            raise UnplaceableSection(
                f"{module.name}: where the kernel keeps {_TAGS} does not follow from the file",
                advice="verify on a kernel without CONFIG_MEM_ALLOC_PROFILING",
            )
    builder = LayoutBuilder(memory_types=facts.MEMORY_TYPES.holds(release))
    for init in (False, True):
        for name, wanted, refused in PASSES:
            for section in module.sections:
                its = flags[section.index]
                if its & wanted == wanted and not its & refused and _goes_with_init(section, unload) is init:
                    builder.place(section, init, name)
            builder.end_pass(init, name)
    core = init_tables = None
    if kallsyms:
        core, init_tables = _symbol_tables(module, builder, flags, unload, kallsyms_all)
    return Layout(
        release=release,
        blocks={block: aligned(size, PAGE) for block, size in builder.sizes.items()},
        placed=tuple(sorted(builder.placed.values(), key=lambda placed: placed.section.index)),
        regions=builder.regions(),
        percpu=_percpu_index(module),
        core_kallsyms=core,
        init_kallsyms=init_tables,
    )


def _loader_flags(module: KernelModule, release: Release) -> dict[int, int]:
    """Returns section index -> flags as the loader changes them before it places anything."""
    flags = {section.index: section.flags for section in module.sections}
    # find_sec: the first allocated section of that name
    first: dict[str, int] = {}
    for section in module.sections:
        if section.allocated:
            first.setdefault(section.name, section.index)
    for name in (*_DROPPED, PERCPU):
        if name in first:
            flags[first[name]] &= ~SHF_ALLOC
    static_calls = (_STATIC_CALLS,) if facts.STATIC_CALLS_READ_ONLY.holds(release) else ()
    for name in (*_READ_ONLY_AFTER_INIT, *static_calls):
        if name in first:
            flags[first[name]] |= SHF_RO_AFTER_INIT
    return flags


def _percpu_index(module: KernelModule) -> int | None:
    return next((s.index for s in module.sections if s.name == PERCPU and s.allocated), None)


def _goes_with_init(section: Section, unload: bool) -> bool:
    """Returns `module_init_layout_section`: True for init, and without MODULE_UNLOAD for exit."""
    return section.init or (not unload and section.name.startswith(".exit"))


def _symbol_tables(
    module: KernelModule, builder: LayoutBuilder, flags: Mapping[int, int], unload: bool, kallsyms_all: bool
) -> tuple[SymbolTables, SymbolTables]:
    """Places the whole symbol tables behind init's data, the kept ones behind core's (`layout_symtab`)."""
    symtab = next(section for section in module.sections if section.type == "SHT_SYMTAB")
    strtab = module.sections[symtab.link]
    strings = module.content(strtab)
    everything = range(symtab.size // ELF64_SYM.size)
    livepatch = any(tag == "livepatch" for tag, _ in module.modinfo)
    core, init = builder.block(False, "data"), builder.block(True, "data")

    builder.put(symtab, init)
    percpu = _percpu_index(module)
    wanted = SHF_ALLOC if kallsyms_all else SHF_ALLOC | SHF_EXECINSTR
    kept_sections = {  # is_core_symbol
        section.index
        for section in module.sections
        if flags[section.index] & wanted == wanted and not _goes_with_init(section, unload)
    }
    if percpu is not None and kallsyms_all:
        kept_sections.add(percpu)
    kept = tuple(
        index
        for index, symbol in enumerate(module.symbol_table)
        if index == 0 or livepatch or (symbol.name_offset and symbol.section_index in kept_sections)
    )
    names = sum(
        strings.index(b"\0", module.symbol_table[index].name_offset)
        - module.symbol_table[index].name_offset
        + 1
        for index in kept
    )
    symbols = builder.append(core, len(kept) * ELF64_SYM.size, symtab.alignment)
    core_strings = builder.append(core, names, 1)
    types = builder.append(core, len(kept), 1)
    core_tables = SymbolTables(core, symbols, core_strings, types, types + len(kept), kept)
    if not builder.memory_types:
        builder.sizes[core] = aligned(builder.sizes[core], PAGE)

    builder.put(strtab, init)
    structure = builder.append(init, MOD_KALLSYMS_SIZE, MOD_KALLSYMS_ALIGNMENT)
    types = builder.append(init, len(everything), 1)
    init_tables = SymbolTables(
        init,
        builder.placed[symtab.index].offset,
        builder.placed[strtab.index].offset,
        types,
        types + len(everything),
        tuple(everything),
        structure,
    )
    return core_tables, init_tables
