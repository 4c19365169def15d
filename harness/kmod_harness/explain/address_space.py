"""The address space in steps of magnification: from all addresses to the functions of one section. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ..claims.observations import AddressSpace, ModuleSection, Observations, Region
from .scale import Band, Level, Span, largest, visible_focus, with_names_placed
from .wording import count_text, plural, size_text

_TOP_2_GIB = (1 << 64) - (1 << 31)
_PAGE = 4096
#: More page borders than this would be a grey bar.
_MAX_TICKS = 64
#: More functions than this are not drawn one by one.
_MAX_FUNCTIONS = 300


def levels(seen: Observations) -> tuple[Level, ...]:
    """Returns the steps, each with the range of the next one marked in it; the first shows everything."""
    module = module_region(seen)
    steps = [
        _everything(seen.space),
        _kernel_half(seen.space),
        _top(seen.space),
        _neighbourhood(seen.space, module),
        _module(seen, module),
    ]
    text = next((s for s in seen.sections if s.name == ".text" and s.size), None)
    functions = _functions(seen, text) if text is not None and text.address in module else None
    if functions is not None:
        steps.append(functions)
    return tuple(_linked(steps))


def module_region(seen: Observations) -> Region:
    """Returns the range that holds all the module keeps after init, whole pages; one block on 6.1."""
    kept = [block for block in seen.blocks if not block.name.startswith("init")]
    starts = [block.start for block in kept] or [page.virtual for page in seen.pages]
    ends = [block.end for block in kept] or [page.virtual + _PAGE for page in seen.pages]
    return Region(seen.module.name, min(starts), max(ends))


def section_kind(section: ModuleSection) -> str:
    """Returns what the section is coloured by: the permissions of its pages."""
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


def _neighbourhood(space: AddressSpace, module: Region) -> Level:
    last = max(region.end for region in (*space.modules, module))
    size = 1 << max(20, (last - space.module_range.start - 1).bit_length())
    span = Span(space.module_range.start, min(space.module_range.start + size, space.module_range.end))
    regions = {(region.start, region.end): region for region in (*space.modules, module)}
    bands = [
        span.band(
            region.name,
            "module" if region.name == module.name else "neighbour",
            region.start,
            region.end,
            region.note or ("the module of this page" if region.name == module.name else ""),
        )
        for region in regions.values()
    ]
    first = min(region.start for region in regions.values())
    before = (first - span.start) // _PAGE
    if before:
        gap = span.band(
            "left free", "unused", span.start, first, "a random number of pages, drawn once a boot"
        )
        bands.append(gap)
    others = len(regions) - 1
    text = (
        (f"On this boot the kernel left {plural(before, 'page')} free at the start. " if before else "")
        + "Each module takes the lowest gap that it fits in, with an unmapped guard page behind it. "
        + (
            f"There {'is' if others == 1 else 'are'} {plural(others, 'other module')} loaded. "
            if others
            else ""
        )
        + f"{module.name} starts at 0x{module.start:x}."
    )
    return Level("modules", "The start of the modules' range", text, span, _sorted(bands))


def _module(seen: Observations, module: Region) -> Level:
    span = Span(module.start, module.end)
    bands = [
        span.band(section.name, section_kind(section), section.address, section.address + section.size)
        for section in seen.sections
        if section.size and section.address in module and section.block != "init"
    ]
    pages = module.size // _PAGE
    ticks = tuple(100.0 * number / pages for number in range(1, pages)) if pages <= _MAX_TICKS else ()
    kept = size_text(sum(band.size for band in bands))
    text = (
        f"{plural(pages, 'page')} hold {kept} of sections: code first, then constants, then data. A change "
        f"of permission starts a new page, which is why much of the room stays empty. "
        + _init_text(seen.sections)
    )
    return Level("module", f"The module {module.name}", text, span, _sorted(bands), ticks=ticks)


def _init_text(sections: Sequence[ModuleSection]) -> str:
    freed = sum(section.size for section in sections if section.block == "init")
    if not freed:
        return ""
    return (
        f"Another {size_text(freed)} of sections, used during init only, were in a block of their own, "
        "which was freed."
    )


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
