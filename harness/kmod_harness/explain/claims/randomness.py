"""Where modules begin: by the documentation, by the kernel's configuration, by chance."""

from __future__ import annotations

from kmod_harness.explain.claims.claim import Claim, Evidence, Verdict
from kmod_harness.explain.claims.phrases import inside, outside
from kmod_harness.explain.observed.observations import Observations
from kmod_harness.kmod.addresses import MODULES_BASE_FIXED, MODULES_BASE_RANDOMIZED
from kmod_harness.releases import facts
from kmod_harness.releases.release import release_pair

_PAGE = 4096


# --- what the documentation says


def _documented(seen: Observations) -> Verdict:
    lowest = min(region.start for region in seen.space.modules)
    if lowest >= MODULES_BASE_RANDOMIZED:
        return Verdict.OUTDATED
    return Verdict.TRUE if lowest >= MODULES_BASE_FIXED else Verdict.FALSE


def _explain_documented(seen: Observations) -> str:
    if _documented(seen) is Verdict.TRUE:
        return (
            f"So it is on this kernel, which was built without RANDOMIZE_BASE: 512 MiB for the image, then "
            f"modules from {MODULES_BASE_FIXED:#x} on."
        )
    return (
        "That is the layout without RANDOMIZE_BASE. With it, and so on every distribution's kernel, the "
        f"image has 1 GiB to move in, and modules start at {MODULES_BASE_RANDOMIZED:#x}, also when it is "
        "booted with nokaslr."
    )


def _documented_inside(seen: Observations) -> Evidence:
    lowest = min(seen.space.modules, key=lambda region: region.start)
    return inside(
        f"/proc/modules shows the lowest module, {lowest.name}, at {lowest.start:#x}.",
        "\n".join(f"{region.name} {region.start:#018x}" for region in seen.space.modules)
        + f"\ncommand line: {seen.machine.command_line}",
    )


def _documented_outside(seen: Observations) -> Evidence:
    return outside(
        f"In the page tables the first page mapped above {MODULES_BASE_FIXED:#x} that is not the kernel "
        f"image's is at {seen.space.lowest_in_module_range:#x}.",
        f"MODULES_VADDR of this configuration: {seen.space.module_range.start:#018x}",
    )


DOCUMENTED = Claim(
    13,
    "documented-range",
    "The module mapping space begins at 0xffffffffa0000000.",
    "The kernel's own documentation says so (x86_64/mm.rst in its Documentation).",
    "arch/x86/include/asm/page_64_types.h:95 RANDOMIZE_BASE; "
    "arch/x86/include/asm/pgtable_64_types.h:196 MODULES_VADDR",
    _documented,
    _explain_documented,
    _documented_inside,
    _documented_outside,
)


# --- another address at every boot


def _moves(seen: Observations) -> Verdict:
    offset = seen.space.lowest_in_module_range - seen.space.module_range.start
    # KASLR leaves 1 to 1024 pages free: a module at the very start of the range proves that it is off
    return Verdict.TRUE if offset > 0 else Verdict.FALSE


def _explain_moves(seen: Observations) -> str:
    pages = (seen.space.lowest_in_module_range - seen.space.module_range.start) // _PAGE
    if _moves(seen) is Verdict.FALSE:
        return (
            "This boot has no KASLR: the kernel is where it was linked to be, and the first module takes "
            "the first page of the range. The same modules in the same order get the same addresses at "
            "every boot."
        )
    return (
        f"With KASLR the kernel moves its image (by {seen.space.slide:#x} here), and draws once a boot how "
        f"many of the first 1024 pages of the module range stay empty ({pages} here). "
        + (
            "After that data goes to the lowest gap that fits, and code to a cache of large pages."
            if facts.TEXT_CACHE.holds(release_pair(seen.machine.release))
            else "After that the lowest gap that fits is taken: within one boot the place can be foretold."
        )
    )


def _moves_inside(seen: Observations) -> Evidence:
    return inside(
        f"The kernel's command line {'has' if seen.machine.nokaslr else 'does not have'} nokaslr; "
        f"/proc/modules shows {seen.module.name} at {seen.pages[0].virtual:#x}.",
        seen.machine.command_line,
    )


def _moves_outside(seen: Observations) -> Evidence:
    space = seen.space
    return outside(
        f"KASLR's slide, from the page tables alone, is {space.slide:#x}; the lowest page in the module "
        f"range is {(space.lowest_in_module_range - space.module_range.start) // _PAGE} pages above its "
        "start.",
        f"module range {space.module_range.start:#018x}\nlowest page  {space.lowest_in_module_range:#018x}",
    )


MOVES = Claim(
    14,
    "another-address",
    "It gets another address at every boot.",
    "Address randomisation covers modules as well.",
    "arch/x86/kernel/module.c:45 get_module_load_offset",
    _moves,
    _explain_moves,
    _moves_inside,
    _moves_outside,
)
