"""A loaded module linked at its addresses with the running kernel's symbols, as far as these are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kmod_harness.errors import KmodHarnessError, Misuse
from kmod_harness.kmod.addresses import KERNEL_IMAGE_BASE
from kmod_harness.kmod.link.relocation import FORMULAS, LinkedModule, link
from kmod_harness.verify.image import AllowedChange
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.outside.stopped_guest import ModuleLocation, StoppedGuest

#: The image of a symbol without a known address. The symbol is bound to the start of the range in which KASLR
#: moves the kernel: nothing is mapped there (_text lies 16 MiB above), so a mistaken read fails.
_HIDDEN = "hidden"
_SHOWN_NAMES = 20


class SymbolsUnknown(Misuse):
    """A module is bound to symbols whose addresses are not known."""


@dataclass(frozen=True)
class LinkInPlace:
    """The result of linking a module where it lies.

    module: the linked module
    unknown: fields that could not be bound
    limits: errors that say why
    """

    module: LinkedModule = field(repr=False)
    unknown: tuple[AllowedChange, ...]
    limits: tuple[KmodHarnessError, ...]


def link_in_place(place: ModuleLocation, stopped: StoppedGuest) -> LinkInPlace:
    """Returns the module linked where it lies. Raises LinkError when another file was loaded."""
    weak = {symbol.name for symbol in place.module.undefined if symbol.weak}
    missing: set[str] = set()

    def resolve(name: str) -> tuple[int, str] | None:
        found = stopped.resolve(name)
        if found is None and name not in weak:
            missing.add(name)
            return KERNEL_IMAGE_BASE, _HIDDEN
        return found

    linked = link(place.module, place.layout, place.addresses, resolve)
    return LinkInPlace(linked, tuple(_unknown_fields(linked)), tuple(_limits(linked, missing)))


def _unknown_fields(linked: LinkedModule) -> Iterator[AllowedChange]:
    """Yields the bytes of relocations that could not be bound: they may hold anything."""
    for bound in linked.relocations:
        if bound.image == _HIDDEN:
            yield AllowedChange(bound.where, bound.size, Mechanism.HIDDEN_SYMBOL)
    for what in linked.unbound:
        where = linked.addresses.get(what.section.index)
        if where is not None:
            yield AllowedChange(where + what.offset, FORMULAS[what.type].size, Mechanism.HIDDEN_SYMBOL)


def _limits(linked: LinkedModule, missing: set[str]) -> Iterator[KmodHarnessError]:
    name = linked.module.name
    if missing:
        count = sum(bound.image == _HIDDEN for bound in linked.relocations)
        yield SymbolsUnknown(
            f"{name}: {count} relocations against {len(missing)} symbols cannot be verified: "
            "the symbols' addresses are not known",
            evidence=_some(missing),
        )
    unbound = {
        what.symbol
        for what in linked.unbound
        if what.section.index in linked.addresses and not what.section.init
    }
    if unbound:
        yield SymbolsUnknown(
            f"{name}: relocations against {len(unbound)} symbols cannot be verified: "
            "they lie in a section whose address is not known",
            evidence=_some(unbound),
        )


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:_SHOWN_NAMES]) + (", ..." if len(names) > _SHOWN_NAMES else "")
