"""Where kernel and module lie in the address space, drawn to scale in three steps. Pure, 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kmod_harness.kmod.addresses import KERNEL_IMAGE_BASE
from kmod_harness.kmod.elf.module import SHF_WRITE, KernelModule, Section

_WIDTH = 74
_PERCPU = ".data..percpu"


@dataclass(frozen=True)
class Area:
    """A named range of addresses, `end` excluded, and the character it is drawn with."""

    name: str
    start: int
    end: int
    mark: str


def address_map(
    kernel: Mapping[str, int],
    module: KernelModule,
    blocks: Mapping[str, tuple[int, int]],
    sections: Mapping[str, int],
    module_range: tuple[int, int],
) -> list[str]:
    """Returns the lines: the top 2 GiB, the kernel image in it, the module's blocks in it.

    kernel: addresses by symbol name. blocks: what the module keeps after init, first address and end: one
    up to 6.3, from 6.4 on one for each kind of memory, wherever there was room. sections: the module's
    section addresses. An area of any size gets a column.
    """
    image = kernel_areas(kernel)
    name = module.name
    lines = ["the top 2 GiB, where kernel code lives:"]
    own = (
        [Area(f"module {name}", start, end, "M") for start, end in blocks.values()]
        if len(blocks) == 1
        else [Area(f"{name} {block}", start, end, "M") for block, (start, end) in blocks.items()]
    )
    whole = [*([Area("kernel image", image[0].start, image[-1].end, "K")] if image else []), *own]
    lines += draw(whole, KERNEL_IMAGE_BASE, module_range[1])
    lines.append(f"  (modules may lie in {_range(*module_range)})")
    if image:
        lines += ["", "the kernel image:", *draw(image, image[0].start, image[-1].end)]
    return [*lines, "", *_module_map(module, blocks, sections)]


def _module_map(
    module: KernelModule, blocks: Mapping[str, tuple[int, int]], sections: Mapping[str, int]
) -> list[str]:
    size = sum(end - start for start, end in blocks.values())
    if len(blocks) == 1:
        (block,) = blocks.values()
        parts = module_areas(module, block, sections)
        return [f"the module {module.name}, {size} bytes:", *draw(parts, *block)]
    marks = {"text": "T", "data": "D"}
    parts = [
        Area(f"module {block}", start, end, marks.get(block, "R"))
        for block, (start, end) in sorted(blocks.items(), key=lambda one: one[1])
    ]
    return [
        f"the module {module.name}, {size} bytes in {len(blocks)} blocks, wherever there was room:",
        *_legend(parts),
    ]


def kernel_areas(addresses: Mapping[str, int]) -> list[Area]:
    """Returns text, rodata and data of the kernel image, by the linker script's symbols (vmlinux.lds.S)."""
    bounds = (
        ("kernel text", "_text", "_etext", "T"),
        ("kernel rodata", "__start_rodata", "__end_rodata", "R"),
        ("kernel data", "_sdata", "_end", "D"),
    )
    return [
        Area(name, addresses[first], addresses[last], mark)
        for name, first, last, mark in bounds
        if first in addresses and last in addresses
    ]


def module_areas(module: KernelModule, block: tuple[int, int], sections: Mapping[str, int]) -> list[Area]:
    """Returns the module's text, rodata and data inside its block, in the order of their addresses.

    A section that the kernel makes read-only after init (M:2334) counts as rodata.
    """
    spans: dict[str, list[tuple[int, int]]] = {}
    for section in module.sections:
        address = sections.get(section.name, 0)
        inside = block[0] <= address < block[1]
        if section.allocated and inside and not section.init and section.name != _PERCPU and section.size:
            spans.setdefault(_kind(section), []).append((address, address + section.size))
    marks = {"module text": "T", "module rodata": "R", "module data": "D"}
    areas = [
        Area(kind, min(a for a, _ in found), max(b for _, b in found), marks[kind])
        for kind, found in spans.items()
    ]
    return sorted(areas, key=lambda area: area.start)


def draw(areas: Sequence[Area], start: int, end: int) -> list[str]:
    """Returns a bar from `start` to `end` and a legend line for each area; addresses in hexadecimal."""
    bar = ["."] * _WIDTH
    for area in areas:
        first = (area.start - start) * _WIDTH // (end - start)
        last = -(-(area.end - start) * _WIDTH // (end - start))
        for column in range(max(0, first), min(_WIDTH, max(last, first + 1))):
            bar[column] = area.mark
    return [f"  |{''.join(bar)}|", *_legend(areas)]


def _legend(areas: Sequence[Area]) -> list[str]:
    width = max((len(area.name) for area in areas), default=0)
    return [
        f"   {area.mark} {area.name:<{max(16, width)}} {_range(area.start, area.end)}"
        f" {_size(area.end - area.start):>9}"
        for area in areas
    ]


def _kind(section: Section) -> str:
    if section.executable:
        return "module text"
    sealed = section.name in (".data..ro_after_init", "__jump_table")
    return "module data" if section.flags & SHF_WRITE and not sealed else "module rodata"


def _range(start: int, end: int) -> str:
    return f"{start:#018x}-{end:#018x}"


def _size(size: int) -> str:
    for unit, length in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size} B"
