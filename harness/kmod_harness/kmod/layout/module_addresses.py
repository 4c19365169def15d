"""The addresses of modules in a guest, also of unloaded ones: names for addresses without a symbol."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kmod_harness.kmod.elf.module import Symbol


class _Function(NamedTuple):
    start: int
    end: int
    name: str
    module: str


class ModuleAddresses:
    """Names for addresses in modules, also after they were unloaded, when the kernel has forgotten them.

    Code that runs then (a timer that was not stopped), or a report about the past (the allocation of leaked
    memory), appears in the kernel log as a bare number.
    """

    def __init__(self) -> None:
        self._lives: list[tuple[str, Sequence[Symbol], Mapping[str, int]]] = []
        self._known: list[_Function] | None = None

    def note(self, module: str, symbols: Sequence[Symbol], sections: Mapping[str, int]) -> None:
        """Notes where a module lies; `sections` is name -> address. A later module takes over an address."""
        self._lives.append((module, symbols, sections))
        self._known = None

    def name_of(self, address: int) -> str:
        """Returns `function+0xoffset/0xsize [module]` as the kernel writes it, "" outside of functions."""
        if self._known is None:
            self._known = self._functions()
        at = bisect_right(self._known, address, key=lambda function: function.start) - 1
        if at < 0 or address >= self._known[at].end:
            return ""
        found = self._known[at]
        return f"{found.name}+{address - found.start:#x}/{found.end - found.start:#x} [{found.module}]"

    def _functions(self) -> list[_Function]:
        """Returns all functions, sorted by address; a later module's replaces one at the same place."""
        taken: list[_Function] = []
        for module, symbols, sections in reversed(self._lives):
            mine = sorted(
                _Function(start, start + symbol.size, symbol.name, module)
                for symbol in symbols
                if symbol.kind == "FUNC" and symbol.size and symbol.section in sections
                for start in [sections[symbol.section or ""] + symbol.value]
            )
            taken += [function for function in mine if not _overlaps(taken, function)]
            taken.sort()
        return taken


def _overlaps(taken: list[_Function], function: _Function) -> bool:
    after = bisect_right(taken, function.start, key=lambda other: other.start)
    if after and taken[after - 1].end > function.start:
        return True
    return after < len(taken) and taken[after].start < function.end
