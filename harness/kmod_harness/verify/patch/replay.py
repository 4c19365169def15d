"""The kernel's writes into a module between relocation and now, replayed in the kernel's order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kmod_harness.kmod.link.relocation import LinkedModule
from kmod_harness.releases.facts import PROVEN
from kmod_harness.releases.release import Release, in_words
from kmod_harness.verify.image import AllowedChange, ModuleImage
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.outside.kernel_state import (
    FeaturesUnreadable,
    KernelState,
    NotReplayed,
    SymbolHidden,
)
from kmod_harness.verify.patch import alternatives, branches, call_thunks, labels, tables

Step = Callable[[ModuleImage, KernelState], None]
Places = list[tuple[int, int]]


@dataclass(frozen=True)
class _Code:
    """A step that rewrites code.

    what: what the step rewrites, in words
    apply: function that replays it; it reads the kernel's memory
    sites: function that returns the places it may write to, for a release
    """

    what: str
    apply: Step
    sites: Callable[[ModuleImage, Release], Places]


def _at_offsets(table: str, size: int) -> Callable[[ModuleImage, Release], Places]:
    return lambda image, _: [(site, size) for site in branches.relative_sites(image, table)]


def _on_any(sites: Callable[[ModuleImage], Places]) -> Callable[[ModuleImage, Release], Places]:
    return lambda image, _: sites(image)


#: module_finalize (arch/x86/kernel/module.c), then load_module's ftrace_module_init and the notifiers of
#: MODULE_STATE_COMING (kernel/module/main.c), 6.1.192, 6.12.118 and 7.2.13; each with the bytes it may touch.
#: A step does nothing for a module without its table.
_CODE = (
    _Code("paravirt sites", branches.apply_paravirt, _on_any(branches.paravirt_sites)),
    _Code("CFI sites", branches.apply_cfi, _at_offsets(".cfi_sites", 20)),
    _Code("retpolines", branches.apply_retpolines, _at_offsets(".retpoline_sites", 6)),
    _Code("return sites", branches.apply_returns, _at_offsets(".return_sites", 5)),
    _Code("alternatives", alternatives.apply_alternatives, alternatives.sites),
    _Code("counted calls", call_thunks.apply_call_thunks, call_thunks.counted_call_places),
    _Code("ENDBR seals", branches.apply_endbr_seal, _at_offsets(".ibt_endbr_seal", 4)),
    _Code("SMP locks", branches.apply_smp_locks, _at_offsets(".smp_locks", 1)),
    _Code("fentry sites", branches.apply_fentry, _on_any(branches.fentry_sites)),
    _Code("jump labels", labels.apply_jump_labels, _on_any(labels.jump_label_sites)),
    _Code("static calls", labels.apply_static_calls, _on_any(labels.static_call_places)),
)


def replay(linked: LinkedModule, kernel: KernelState) -> tuple[ModuleImage, tuple[str, ...]]:
    """Returns the module as memory has to hold it, and the steps that could not be replayed, in words.

    Where a kernel symbol is hidden, or the patching code is not known, the places that it may have written
    are allowed to differ.
    """
    image = ModuleImage(linked)
    known = kernel.release in PROVEN
    unknown = _replay_known(image, kernel) if known else _allow_all(image, kernel.release)
    tables.allow_bug_flags(image, linked)
    tables.allow_written_data(image, linked)
    return image, unknown


def _replay_known(image: ModuleImage, kernel: KernelState) -> tuple[str, ...]:
    unknown: list[str] = []
    tables.sort_exception_table(image, kernel.release)
    tables.sort_orc_tables(image, kernel.release)
    for step in _CODE:
        try:
            step.apply(image, kernel)
        except (SymbolHidden, FeaturesUnreadable, NotReplayed) as why:
            places = step.sites(image, kernel.release)
            unknown.append(f"{step.what} ({len(places)}): {why.message}")
            mechanism = Mechanism.NOT_REPLAYED if isinstance(why, NotReplayed) else Mechanism.HIDDEN_SYMBOL
            _allow(image, places, mechanism)
    tables.sort_mcount_table(image)
    return tuple(unknown)


def _allow_all(image: ModuleImage, release: Release) -> tuple[str, ...]:
    """Allows changes wherever the patching code of a release that is not replayed may write.

    These are the tables, the places they name, and the places of counted calls.
    """
    unknown = [
        f"the patching code of Linux {in_words(release)} is not replayed here, that of {in_words(*PROVEN)} is"
    ]
    for step in _CODE:
        places = step.sites(image, release)
        if places:
            unknown.append(f"{step.what}: {len(places)}")
            _allow(image, places, Mechanism.NOT_REPLAYED)
    tables.allow_tables(image, Mechanism.NOT_REPLAYED)
    return tuple(unknown)


def _allow(image: ModuleImage, places: Places, mechanism: Mechanism) -> None:
    for start, size in places:
        image.allow(AllowedChange(start, size, mechanism))
