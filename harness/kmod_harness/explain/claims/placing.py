"""Where a module is: in virtual memory, in physical memory, and from boot to boot."""

from __future__ import annotations

from kmod_harness.explain.claims.claim import Claim, Evidence, Verdict
from kmod_harness.explain.claims.phrases import count, inside, lines, outside
from kmod_harness.explain.observed.observations import ModulePage, Observations, Region
from kmod_harness.explain.observed.physical_places import physical_order, physical_pieces
from kmod_harness.kmod.addresses import KERNEL_IMAGE_BASE
from kmod_harness.releases import facts
from kmod_harness.releases.release import release_pair

_TOP_2_GIB = (1 << 64) - (1 << 31)


# --- in the top 2 GiB


def _top(seen: Observations) -> Verdict:
    return Verdict.TRUE if all(page.virtual >= _TOP_2_GIB for page in seen.pages) else Verdict.FALSE


def _explain_top(seen: Observations) -> str:
    signed = sum(bound.what.type_name == "R_X86_64_32S" for bound in seen.linking.relocations)
    return (
        "Kernel code is compiled for the top 2 GiB (-mcmodel=kernel): a call reaches 2 GiB far, and an "
        f"address fits 32 bits when it is sign-extended. {count(signed, 'relocation')} of this module would "
        "not fit anywhere else."
    )


def _sections(seen: Observations) -> str:
    shown = sorted(seen.shown.sections.items(), key=lambda one: one[1])
    return f"/sys/module/{seen.module.name}/sections:\n" + lines(
        f"    {at:#018x} {name}" for name, at in shown
    )


def _top_inside(seen: Observations) -> Evidence:
    if not any(seen.shown.sections.values()):
        return Evidence("inside", impossible="this kernel's sysfs does not show where sections are")
    lowest = min(seen.shown.sections.values())
    distance = ((1 << 64) - lowest) / (1 << 20)
    return inside(
        f"sysfs shows the first section at {lowest:#x}, {distance:.0f} MiB below the end of all addresses.",
        _sections(seen),
    )


def _page_line(page: ModulePage) -> str:
    return (
        f"{page.virtual:#018x} {page.permissions} -> physical {page.physical:#010x}"
        f" (alias {page.alias:#018x} {page.alias_permissions}) {' '.join(page.sections)}"
    )


def _page_table(seen: Observations) -> str:
    return lines(_page_line(page) for page in seen.pages)


def _top_outside(seen: Observations) -> Evidence:
    return outside(
        f"The page tables, walked in the stopped machine's memory, map {count(len(seen.pages), 'page')} of "
        f"the module, the lowest at {min(page.virtual for page in seen.pages):#x}.",
        _page_table(seen),
    )


TOP = Claim(
    2,
    "top-2-gib",
    "It is relocated into the top 2 GiB of the address space.",
    "So it is taught, and it is so.",
    "arch/x86/kernel/module.c:68 module_alloc; arch/x86/Makefile: -mcmodel=kernel",
    _top,
    _explain_top,
    _top_inside,
    _top_outside,
)


# --- around 0xffffffff80000000


def _around(seen: Observations) -> Verdict:
    if all(page.virtual in seen.space.kernel_window for page in seen.pages):
        return Verdict.TRUE
    return Verdict.IMPRECISE if _top(seen) is Verdict.TRUE else Verdict.FALSE


def _explain_around(seen: Observations) -> str:
    window, modules = seen.space.kernel_window, seen.space.module_range
    return (
        f"{window.start:#x} to {window.end:#x} is the kernel image's own place, where KASLR moves it about. "
        f"Modules have the range behind it: this kernel's starts at {modules.start:#x}."
    )


def _around_inside(seen: Observations) -> Evidence:
    rows = [(region.start, f"{region.name} (/proc/modules)") for region in seen.space.modules]
    rows.append((seen.shown.kernel_text, "_text, the kernel's first byte (/proc/kallsyms)"))
    base = min(region.start for region in seen.space.modules)
    return inside(
        f"/proc/modules puts the lowest module {(base - KERNEL_IMAGE_BASE) >> 20} MiB above "
        f"{KERNEL_IMAGE_BASE:#x}; /proc/kallsyms has the kernel's own text at {seen.shown.kernel_text:#x}.",
        "\n".join(f"{address:#018x} {name}" for address, name in sorted(rows)),
    )


def _around_outside(seen: Observations) -> Evidence:
    image = seen.space.kernel_image
    return outside(
        f"In the page tables the kernel image begins at {image.start:#x} (KASLR's slide is "
        f"{seen.space.slide:#x}); the module's first page is {(seen.pages[0].virtual - image.start) >> 20} "
        "MiB above it.",
        f"kernel image {image.start:#018x}-{image.end:#018x}\n" + _page_table(seen),
    )


AROUND = Claim(
    3,
    "around-80000000",
    "It goes around 0xffffffff80000000.",
    "The address where kernel text is mapped, taken for the modules' as well.",
    "arch/x86/include/asm/pgtable_64_types.h:196 MODULES_VADDR; "
    "arch/x86/include/asm/page_64_types.h:96 KERNEL_IMAGE_SIZE",
    _around,
    _explain_around,
    _around_inside,
    _around_outside,
)


# --- anywhere in physical memory


def _offsets(pages: tuple[ModulePage, ...]) -> set[int]:
    return {page.virtual - page.physical for page in pages}


def _anywhere(seen: Observations) -> Verdict:
    # the kernel image is mapped by one constant; memory by one constant means a fixed place
    image_offset = seen.space.kernel_image.start - seen.space.kernel_physical
    return Verdict.FALSE if _offsets(seen.pages) == {image_offset} else Verdict.TRUE


def _explain_anywhere(seen: Observations) -> str:
    pieces = physical_pieces(seen.pages)
    if len(seen.pages) == 1:
        here = "here it is a single page"
    elif pieces == 1:
        here = f"here they happen to fill one piece of physical memory, in {physical_order(seen.pages).value}"
    else:
        here = f"the {len(seen.pages)} here lie in {pieces} pieces of physical memory"
    if facts.TEXT_CACHE.holds(release_pair(seen.machine.release)):
        taken = (
            "Its code comes from a cache of large pages, the rest from wherever 4 KiB pages are free, and "
            "the page tables put them in order"
        )
    else:
        taken = (
            "vmalloc takes free 4 KiB pages from wherever there are some, and the page tables put them in "
            "order"
        )
    return (
        f"{taken}: {here}. What is mapped in one straight line is the kernel image, and the direct map of "
        "all memory."
    )


def _adjoining(pages: tuple[ModulePage, ...]) -> str:
    """How the pages adjoin in physical memory, in words."""
    pieces = physical_pieces(pages)
    if len(pages) == 1:
        return "there is one"
    if pieces == 1:
        return f"all {len(pages)} adjoin, in {physical_order(pages).value}"
    return (
        f"no two of {len(pages)} adjoin" if pieces == len(pages) else f"{len(pages)} pages in {pieces} pieces"
    )


def _anywhere_inside(seen: Observations) -> Evidence:
    if not seen.shown.vmallocinfo:
        return Evidence("inside", impossible="/proc/vmallocinfo cannot be read, and nothing else tells")
    return inside(
        "/proc/vmallocinfo counts the module's pages; where they are physically the kernel tells nobody.",
        seen.shown.vmallocinfo,
    )


def _anywhere_outside(seen: Observations) -> Evidence:
    return outside(
        f"The page tables give each page's physical address: {_adjoining(seen.pages)}.",
        _page_table(seen),
    )


ANYWHERE = Claim(
    4,
    "anywhere-physical",
    "Physically it can be anywhere in memory.",
    "Virtual memory makes the physical place irrelevant.",
    "arch/x86/kernel/module.c:76 __vmalloc_node_range; mm/vmalloc.c:2989 vm_area_alloc_pages",
    _anywhere,
    _explain_anywhere,
    _anywhere_inside,
    _anywhere_outside,
)


# --- one block


def _one_block(seen: Observations) -> Verdict:
    core = [block for block in seen.blocks if not block.name.startswith("init")]
    if len(core) > 1:
        return Verdict.OUTDATED
    return (
        Verdict.IMPRECISE
        if len({page.permissions for page in seen.pages}) > 1 or _had_init(seen)
        else Verdict.TRUE
    )


def _had_init(seen: Observations) -> bool:
    return any(block.name.startswith("init") and block.size for block in seen.blocks)


def _explain_block(seen: Observations) -> str:
    if _one_block(seen) is Verdict.OUTDATED:
        return (
            "Since Linux 6.4 each kind of memory is a block of its own: text, data, read-only data, init's."
        )
    after = seen.loading.init_mapped_after
    freed = "was freed once init had returned" if not after else f"still has {count(after, 'page')} mapped"
    return (
        "One block holds what stays, in the order text, read-only data, data that init may write, data; "
        "each begins on a page of its own, because permissions go by page and nothing is writable and "
        f"executable. A second block holds what only init needs; it {freed}."
    )


def _block_inside(seen: Observations) -> Evidence:
    return inside(
        "sysfs gives each section its address; those of init name memory that was freed.", _sections(seen)
    )


def _block_outside(seen: Observations) -> Evidence:
    kinds = sorted({page.permissions for page in seen.pages}, reverse=True)
    loading = seen.loading
    during = f"{loading.init_mapped_during} pages were mapped while init ran, " if loading.init_stop else ""
    return outside(
        f"The page tables show {', '.join(kinds)} pages; of what only init needs {during}"
        f"{loading.init_mapped_after} are mapped now.",
        _page_table(seen) + "\n" + "\n".join(_block_line(block) for block in seen.blocks),
    )


def _block_line(block: Region) -> str:
    return f"{block.name} block {block.start:#018x}-{block.end:#018x}"


BLOCK = Claim(
    6,
    "one-block",
    "Its text and data go into one piece of kernel memory.",
    "A module is loaded as a whole.",
    "kernel/module/main.c:1436 layout_sections, 2648 permissions, 2545 init freed",
    _one_block,
    _explain_block,
    _block_inside,
    _block_outside,
)
