"""The lines by which modprobe finds modules: in modules.dep, modules.alias and modules.softdep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from kmod_harness.kmod.loading.depmod_files import (
    Softdeps,
    format_aliases,
    format_dep,
    format_softdeps,
)
from kmod_harness.kmod.loading.names import Alias

#: A file that says of /lib/modules/RELEASE that it is the harness's own, not the image's.
MARK = ".kmod-harness"


@dataclass(frozen=True)
class Listed:
    """A module that modprobe is to find.

    file: its path, relative to /lib/modules/RELEASE
    needs: plain names of the modules that it needs by itself
    aliases: aliases
    softdeps: its softdeps
    """

    file: str
    needs: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    softdeps: Softdeps = field(default_factory=Softdeps)


def modprobe_lists(listed: Mapping[str, Listed], new: Iterable[str] | None = None) -> dict[str, str]:
    """Returns file name -> text: the lines for the modules `new`, None for all.

    listed: plain name -> module; what a module needs and is not among them is left out
    """
    names = list(listed) if new is None else list(new)
    aliases = (Alias(pattern, name) for name in names for pattern in listed[name].aliases)
    return {
        "modules.dep": format_dep({listed[name].file: _files(name, listed) for name in names}),
        "modules.alias": format_aliases(aliases),
        "modules.softdep": format_softdeps({name: listed[name].softdeps for name in names}),
    }


def _files(name: str, listed: Mapping[str, Listed]) -> list[str]:
    """Returns the files of all that a module needs, the last one to be loaded first, as depmod writes it."""
    order = list(dict.fromkeys(_needed(name, listed, frozenset())))
    return [listed[needed].file for needed in reversed(order) if needed != name]


def _needed(name: str, listed: Mapping[str, Listed], trail: frozenset[str]) -> Iterator[str]:
    """Yields what a module needs, each behind what it needs itself, then the module."""
    for needed in listed[name].needs:
        if needed in listed and needed not in trail:
            yield from _needed(needed, listed, trail | {name})
    yield name
