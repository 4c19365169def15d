"""The address space in steps of magnification: from all addresses to the functions of one section. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from kmod_harness.explain.observed.observations import (
    SYMBOL_TABLE,
    AddressSpace,
    ModuleSection,
    Observations,
    Region,
)
from kmod_harness.explain.page.scale import Band, Level, Span, largest, visible_focus, with_names_placed
from kmod_harness.explain.page.wording import count_text, plural, size_text
from kmod_harness.releases import facts
from kmod_harness.releases.release import release_pair

_TOP_2_GIB = (1 << 64) - (1 << 31)
_PAGE = 4096
#: More page borders than this would be a grey bar.
_MAX_TICKS = 64
#: More functions than this are not drawn one by one.
_MAX_FUNCTIONS = 300


def levels(seen: Observations) -> tuple[Level, ...]:
    """Returns the steps, each with the range of the next one marked in it; the first shows everything."""
    blocks = kept_blocks(seen)
    steps = [
        _everything(seen.space),
        _kernel_half(seen.space),
        _top(seen.space),
        _neighbourhood(seen, blocks),
        _module(seen, blocks),
    ]
    text = next((s for s in seen.sections if s.name == ".text" and s.size), None)
    functions = _functions(seen, text) if text is not None and _in_any(text, blocks) else None
    if functions is not None:
        steps.append(functions)
    return tuple(_linked(steps))


def kept_blocks(seen: Observations) -> tuple[Region, ...]:
    """Returns the ranges of whole pages that the module keeps after init, by address: one up to 6.3."""
    kept = [block for block in seen.blocks if not block.name.startswith("init")]
    if not kept:
        start, end = seen.pages[0].virtual, seen.pages[-1].virtual + _PAGE
        kept = [Region(seen.module.name, start, end)]
    return tuple(sorted(kept, key=lambda block: block.start))


def place_of_code(seen: Observations) -> int:
    """Returns where its text begins; of a module without any, where its first block does."""
    text = next((block.start for block in kept_blocks(seen) if block.name == "text"), None)
    return kept_blocks(seen)[0].start if text is None else text


def section_kind(section: ModuleSection) -> str:
    """Returns the kind that a section is coloured by: the permissions of its pages."""
    if section.block == "init" or not section.permissions:
        return "init"
    return permission_kind(section.permissions)


def permission_kind(permissions: str) -> str:
    """Returns `text`, `rodata`, `data`, or `wx` for memory that is writable and executable at once."""
    writable, executable = "w" in permissions, "x" in permissions
    if writable and executable:
        return "wx"
    return "text" if executable else "data" if writable else "rodata"


def _everything(space: AddressSpace) -> Level:
    half = _half(space)
    kernel = (1 << 64) - half
    span = Span(0, 1 << 64, hole=(half, kernel))
    bands = (
        span.band("user space", "user", 0, half, "another one for each process"),
        span.band("kernel space", "kernel", kernel, 1 << 64, "the same one whichever process runs"),
    )
    bits = (half - 1).bit_length() + 1
    text = (
        f"The processor uses {bits} of an address's 64 bits. The lower half belongs to programs, and each "
        f"process has its own. The upper half belongs to the kernel: one for all processes, out of reach "
        f"for programs. Modules live there. Between the halves lie {size_text(kernel - half)} that no "
        f"address can name; they are left out of the bar."
    )
    return Level("all", "Every address there is", text, span, bands)


def _kernel_half(space: AddressSpace) -> Level:
    span = Span((1 << 64) - _half(space), 1 << 64)
    regions = [
        ("all of memory", "direct", space.direct_map, "the direct map: every physical page, once, in order"),
        ("vmalloc", "vmalloc", space.vmalloc, "large allocations and the kernel's stacks"),
        ("page descriptors", "other", space.vmemmap, "vmemmap: a struct page for each page of memory"),
    ]
    bands = [
        span.band(name, kind, region.start, region.end, region.note or note)
        for name, kind, region, note in regions
        if region.size > 0 and region.start >= span.start
    ]
    bands.append(span.band("the top 2 GiB", "kernel", _TOP_2_GIB, 1 << 64, "kernel image and modules"))
    text = (
        "The kernel has all physical memory in one piece here: the direct map. But its own code and the "
        "modules' run at the very end, in the last 2 GiB, a line too thin to draw to scale. The reason is "
        "in the instructions: a call reaches 2 GiB far, so code that is to call the kernel directly has to "
        "be near it."
    )
    return Level("kernel", "The kernel's half", text, span, _sorted(bands))


def _top(space: AddressSpace) -> Level:
    span = Span(_TOP_2_GIB, 1 << 64)
    window, image, modules = space.kernel_window, space.kernel_image, space.module_range
    bands = [
        span.band("room for the kernel", "room", window.start, window.end, "where KASLR may put the image"),
        span.band("kernel image", "kernel", image.start, image.end, "vmlinux: text, read-only data, data"),
        span.band("room for modules", "module-room", modules.start, modules.end, "MODULES_VADDR and up"),
        span.band("fixed mappings", "other", modules.end, 1 << 64, "devices, the vsyscall page, a hole"),
    ]
    moved = (
        f"moved up by {size_text(space.slide)} on this boot, so that nobody can guess it (KASLR)"
        if space.slide
        else "where it was linked to be: this boot has no KASLR"
    )
    text = (
        f"The kernel image lies in the lower part of the last 2 GiB, {moved}. Modules have a range of their "
        f"own above it, {size_text(modules.size)} wide. Around 0x{_TOP_2_GIB:x}, which is "
        f"often named as the modules' place, is the kernel's."
    )
    return Level("top", "The last 2 GiB: the kernel and its modules", text, span, tuple(bands))


def _in_any(section: ModuleSection, blocks: Sequence[Region]) -> bool:
    return any(section.address in block for block in blocks)


def _neighbourhood(seen: Observations, blocks: Sequence[Region]) -> Level:
    space, name = seen.space, seen.module.name
    others = [region for region in space.modules if region.name != name]
    last = max(region.end for region in (*others, *blocks))
    size = 1 << max(20, (last - space.module_range.start - 1).bit_length())
    span = Span(space.module_range.start, min(space.module_range.start + size, space.module_range.end))
    own = "the module of this page"
    bands = [
        span.band(
            name if len(blocks) == 1 else f"{name}: {block.name}", "module", block.start, block.end, own
        )
        for block in blocks
    ]
    bands += [span.band(region.name, "neighbour", region.start, region.end, region.note) for region in others]
    first = min(region.start for region in (*others, *blocks))
    first = min(first, space.lowest_in_module_range or first)
    before = (first - span.start) // _PAGE
    if before:
        gap = span.band(
            "random gap", "unused", span.start, first, "a number of pages drawn once a boot (KASLR)"
        )
        bands.append(gap)
    text = (
        (
            f"On this boot the kernel left {plural(before, 'page')} free at the start, a random gap. "
            if before
            else ""
        )
        + _how_places_are_found(seen.machine.release)
        + (
            f"There {'is' if len(others) == 1 else 'are'} {plural(len(others), 'other module')} loaded"
            f"{', of which the code is drawn' if len(blocks) > 1 else ''}. "
            if others
            else ""
        )
        + (
            f"{name} starts at 0x{blocks[0].start:x}."
            if len(blocks) == 1
            else f"{name} has {plural(len(blocks), 'block')}, its code at 0x{place_of_code(seen):x}."
        )
    )
    return Level("modules", "The start of the modules' range", text, span, _sorted(bands))


def _how_places_are_found(release: str) -> str:
    """Returns the sentence about how a release finds places for modules."""
    if not facts.MEMORY_TYPES.holds(release_pair(release)):
        return "Each module takes the lowest gap that it fits in, with an unmapped guard page behind it. "
    if not facts.TEXT_CACHE.holds(release_pair(release)):
        return (
            "Each kind of a module's memory is a block of its own and takes the lowest gap that it fits in, "
            "with an unmapped guard page behind it. "
        )
    return "Each kind of a module's memory is a block of its own; code comes from a cache of large pages. "


def _module(seen: Observations, blocks: Sequence[Region]) -> Level:
    span = Span(blocks[0].start, blocks[-1].end)
    bands = [
        span.band(
            section.name,
            section_kind(section),
            section.address,
            section.address + section.size,
            "kept for /proc/kallsyms; no section of the file" if section.name == SYMBOL_TABLE else "",
        )
        for section in seen.sections
        if section.size and section.block != "init" and _in_any(section, blocks)
    ]
    kept = size_text(sum(band.size for band in bands))
    pages = sum(block.size for block in blocks) // _PAGE
    if len(blocks) == 1:
        ticks = tuple(100.0 * number / pages for number in range(1, pages)) if pages <= _MAX_TICKS else ()
        title = f"The module {seen.module.name}"
        text = (
            f"{plural(pages, 'page')} hold {kept} of sections: code first, then constants, then data. A "
            "change of permission starts a new page, which is why much of the room stays empty. "
        )
    else:
        ticks = ()
        title = f"Where the {len(blocks)} blocks of {seen.module.name} lie"
        text = (
            f"{plural(pages, 'page')} in {len(blocks)} blocks hold {kept} of sections: code, data, constants "
            "and what init had to write are blocks of whole pages, each where there was room, which is why "
            "much of it stays empty. What lies between them is not the module's. "
        )
    return Level("module", title, text + _init_text(seen), span, _sorted(bands), ticks=ticks)


def _init_text(seen: Observations) -> str:
    freed = sum(section.size for section in seen.sections if section.block == "init")
    if not freed:
        return ""
    count = sum(block.name.startswith("init") for block in seen.blocks)
    where = "a block of their own, which was" if count < 2 else f"{count} blocks of their own, which were"
    return f"Another {size_text(freed)} of sections, used during init only, were in {where} freed."


def _functions(seen: Observations, text: ModuleSection) -> Level | None:
    span = Span(text.address, text.address + text.size)
    placed: dict[int, Band] = {}
    for symbol in seen.module.symbols:
        if symbol.section == ".text" and symbol.kind == "FUNC" and symbol.size:
            start = text.address + symbol.value
            placed.setdefault(start, span.band(symbol.name, "text", start, start + symbol.size))
    if not placed:
        return None
    described = (
        f"The section .text holds {plural(len(placed), 'function')}, one behind the other, as the compiler "
        f"wrote them: {count_text(text.size)} bytes of instructions. Knowing where the section lies is "
        f"knowing where each function lies."
    )
    drawn = largest(tuple(placed.values()), _MAX_FUNCTIONS)
    return Level(
        "functions",
        "Its code, function by function",
        described,
        span,
        drawn,
        ground="text",
        left_out=len(placed) - len(drawn),
    )


def _linked(steps: Sequence[Level]) -> Iterator[Level]:
    for number, step in enumerate(steps):
        magnified = max(1, round(steps[number - 1].span.size / step.span.size)) if number else 1
        focus = (0.0, 0.0)
        if number + 1 < len(steps):
            inner = steps[number + 1].span
            focus = visible_focus(step.span.position(inner.start), step.span.position(inner.end))
        yield replace(step, magnified=magnified, focus=focus, bands=with_names_placed(step.bands))


def _sorted(bands: Iterable[Band]) -> tuple[Band, ...]:
    return tuple(sorted(bands, key=lambda band: (band.start, -band.end)))


def _half(space: AddressSpace) -> int:
    """Returns the size of the canonical lower half: 2^47, or 2^56 with five levels of page tables."""
    return 1 << (space.user.end - 1).bit_length()
