"""The place of a loaded module: sections by its layout, pages by the page tables, relocations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from kmod_harness.explain.observe.running_kernel import RunningKernel
from kmod_harness.explain.observed.observations import SYMBOL_TABLE, ModulePage, ModuleSection, Region
from kmod_harness.guest.guest import Guest
from kmod_harness.guest.loaded_module import LoadedModule
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.layout.predict import Layout
from kmod_harness.kmod.link.exports import resolver
from kmod_harness.kmod.link.relocation import BoundRelocation, link
from kmod_harness.machine.memory.guest_memory import GuestMemory
from kmod_harness.machine.memory.page_tables import Page

_PAGE = 4096


def blocks_of(layout: Layout, bases: Mapping[str, int]) -> tuple[Region, ...]:
    """Returns the blocks that have an address, as whole pages, in the order of the layout."""
    return tuple(
        Region(name, bases[name], bases[name] + size) for name, size in layout.blocks.items() if name in bases
    )


def is_init(block: str) -> bool:
    """Returns whether a block is freed after init."""
    return block.startswith("init")


def symbol_table(
    guest: Guest, file: KernelModule, layout: Layout, bases: Mapping[str, int]
) -> ModuleSection | None:
    """Returns the place of the module's symbols for /proc/kallsyms, which is in no section of the file.

    None where the names are not found there (layout_symtab and add_kallsyms, kernel/module/kallsyms.c, 6.1).
    """
    kept = layout.core_kallsyms
    if kept is None or kept.block not in bases:
        return None
    names = b"".join(file.symbol_table[index].name.encode() + b"\0" for index in kept.indices)
    base = bases[kept.block]
    with GuestMemory(guest.machine) as memory:
        if memory.read_virtual(base + kept.strings, len(names)) != names:
            return None
        permissions = memory.tables.page(base + kept.symbols).permissions
    return ModuleSection(SYMBOL_TABLE, base + kept.symbols, kept.end - kept.symbols, "core", permissions)


def with_symbol_table(pages: tuple[ModulePage, ...], table: ModuleSection | None) -> tuple[ModulePage, ...]:
    """Returns the pages with the table's name added to the sections of those it lies on."""
    if table is None:
        return pages
    end = table.address + table.size
    return tuple(
        replace(page, sections=(*page.sections, table.name))
        if table.address < page.virtual + _PAGE and page.virtual < end
        else page
        for page in pages
    )


def module_pages(guest: Guest, layout: Layout, bases: Mapping[str, int]) -> tuple[ModulePage, ...]:
    """Returns the pages of the blocks that stay in memory, with their direct-map aliases."""
    sections = {
        placed.section.name: (bases[placed.block] + placed.offset, placed.section.size)
        for placed in layout.placed
        if placed.block in bases and not is_init(placed.block) and placed.section.size
    }
    found = []
    with GuestMemory(guest.machine) as memory:
        for block in blocks_of(layout, bases):
            if is_init(block.name):
                continue
            for mapped in memory.pages(block.start, block.end):
                page, alias = mapped.page, mapped.alias
                found.append(
                    ModulePage(
                        page.virtual,
                        page.physical,
                        page.permissions,
                        alias.virtual if alias is not None else 0,
                        alias.permissions if alias is not None else "",
                        _on_page(sections, page),
                    )
                )
    return tuple(found)


def _on_page(sections: Mapping[str, tuple[int, int]], page: Page) -> tuple[str, ...]:
    return tuple(
        name
        for name, (start, size) in sections.items()
        if start < page.virtual + _PAGE and page.virtual < start + size
    )


def module_sections(
    layout: Layout, bases: Mapping[str, int], pages: tuple[ModulePage, ...]
) -> tuple[ModuleSection, ...]:
    """Returns every section that was placed, by address; those of init, which was freed, lack permissions."""
    permissions = {page.virtual: page.permissions for page in pages}
    found = []
    for placed in layout.placed:
        if placed.block not in bases:
            continue
        address = bases[placed.block] + placed.offset
        init = is_init(placed.block)
        found.append(
            ModuleSection(
                placed.section.name,
                address,
                placed.section.size,
                "init" if init else "core",
                "" if init else permissions.get(address & -_PAGE, ""),
            )
        )
    return tuple(sorted(found, key=lambda section: section.address))


def mapped_pages(guest: Guest, blocks: tuple[Region, ...]) -> tuple[tuple[int, int], ...]:
    """Returns (virtual, physical) of each 4 KiB page of these blocks that is mapped now."""
    with GuestMemory(guest.machine) as memory:
        return tuple(
            (page.virtual, page.physical)
            for block in blocks
            for page in memory.tables.parts(block.start, block.end)
        )


def relocations(
    running: RunningKernel,
    file: KernelModule,
    layout: Layout,
    bases: Mapping[str, int],
    others: Mapping[str, Mapping[str, int]] = {},
) -> tuple[BoundRelocation, ...]:
    """Returns every relocation as the independent linker binds it; `others`: module -> its exports."""
    return link(file, layout, layout.addresses(bases), resolver(running.symbols.exports, others)).relocations


def relocations_of_loaded(
    guest: Guest, running: RunningKernel, file: KernelModule, layout: Layout, provider: KernelModule
) -> tuple[BoundRelocation, ...]:
    """Returns the relocations of a module loaded on top of another, by sysfs's sections of both."""
    bases = layout.anchors(LoadedModule(guest, file).sections)
    return relocations(running, file, layout, bases, exports_of(guest, (provider,)))


def exports_of(guest: Guest, modules: tuple[KernelModule, ...]) -> dict[str, dict[str, int]]:
    """Returns module -> name -> address of the exports of loaded modules, by sysfs's sections."""
    loaded = [LoadedModule(guest, module) for module in modules]
    return {module.name: {name: module.symbol(name) for name in module.file.exports} for module in loaded}
