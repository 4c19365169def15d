"""Everything the kernel writes into a module between relocation and now, in the kernel's order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..kmod.relocation import LinkedModule
from . import alternatives, branches, labels, tables
from .image import Freedom, Image
from .kernel_state import FeaturesUnreadable, KernelState, SymbolHidden
from .mechanism import Mechanism

Step = Callable[[Image, KernelState], None]


@dataclass(frozen=True)
class _Code:
    """A step that rewrites code: what it needs the kernel's memory for, and where it writes."""

    what: str
    apply: Step
    sites: Callable[[Image], list[tuple[int, int]]]


def _at_offsets(table: str, size: int) -> Callable[[Image], list[tuple[int, int]]]:
    return lambda image: [(site, size) for site in branches.relative_sites(image, table)]


#: module_finalize (arch/x86/kernel/module.c), then load_module's ftrace_module_init and the notifiers of
#: MODULE_STATE_COMING (kernel/module/main.c), 6.1.192; each with the bytes it may touch.
_CODE = (
    _Code("paravirt sites", branches.apply_paravirt, branches.paravirt_sites),
    _Code("retpolines", branches.apply_retpolines, _at_offsets(".retpoline_sites", 6)),
    _Code("return sites", branches.apply_returns, _at_offsets(".return_sites", 5)),
    _Code("alternatives", alternatives.apply_alternatives, alternatives.sites),
    _Code("ENDBR seals", branches.apply_endbr_seal, _at_offsets(".ibt_endbr_seal", 4)),
    _Code("SMP locks", branches.apply_smp_locks, _at_offsets(".smp_locks", 1)),
    _Code("fentry sites", branches.apply_fentry, branches.fentry_sites),
    _Code("jump labels", labels.apply_jump_labels, labels.jump_label_sites),
    _Code("static calls", labels.apply_static_calls, labels.static_call_places),
)


def replay(linked: LinkedModule, kernel: KernelState) -> tuple[Image, tuple[str, ...]]:
    """Returns what memory must hold, and what could not be replayed, in words.

    Where a kernel symbol is hidden, the places that step may have written are allowed to differ.
    """
    image = Image(linked)
    unknown: list[str] = []
    tables.sort_exception_table(image)
    tables.sort_orc_tables(image)
    for step in _CODE:
        try:
            step.apply(image, kernel)
        except (SymbolHidden, FeaturesUnreadable) as hidden:
            places = step.sites(image)
            unknown.append(f"{step.what} ({len(places)}): {hidden.message}")
            for start, size in places:
                image.allow(Freedom(start, size, Mechanism.HIDDEN_SYMBOL))
    tables.sort_mcount_table(image)
    tables.allow_bug_flags(image, linked)
    tables.allow_written_data(image, linked)
    return image, tuple(unknown)
