"""The addresses of a module's blocks before it is loaded: the lowest large enough gaps of the module area.

Sources, Linux 6.1.192: module_alloc (arch/x86/kernel/module.c), __get_vm_area_node (one guard page behind
each area) and find_vmap_lowest_match (mm/vmalloc.c). Blocks are allocated one after the other, in the order
of Layout.blocks (move_module, kernel/module/main.c).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kmod_harness.errors import Misuse
from kmod_harness.kmod.addresses import MODULES_BASE_FIXED, MODULES_END
from kmod_harness.kmod.layout.placed import PAGE
from kmod_harness.kmod.layout.predict import Layout
from kmod_harness.kmod.symbols.symbol_files import AddressesHidden, SymbolTableError
from kmod_harness.releases import facts
from kmod_harness.releases.release import UnsupportedRelease, in_words

_LINE = re.compile(r"0x([0-9a-f]+)-0x([0-9a-f]+)\s+(\d+)(?: (\S+))?")


class ModuleAreaFull(Misuse):
    """No gap of the module area is large enough."""


@dataclass(frozen=True, order=True)
class BusyRange:
    """A range of addresses that is taken.

    start: first address
    end: address behind it, guard page included
    caller: caller as /proc/vmallocinfo names it
    """

    start: int
    end: int
    caller: str = ""


def parse_vmallocinfo(text: str, *, start: int = MODULES_BASE_FIXED) -> tuple[BusyRange, ...]:
    """Returns the ranges of /proc/vmallocinfo at `start` or above, in order.

    Raises AddressesHidden when the addresses are hashed, as they are even for root while kernel.kptr_restrict
    is 0 (%pK, lib/vsprintf.c); SymbolTableError for a line of another form.
    """
    ranges = []
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.match(line)
        if match is None:
            raise SymbolTableError(
                f"/proc/vmallocinfo, line {number}: expected `0xstart-0xend size caller`", evidence=line[:200]
            )
        first, end, size = int(match[1], 16), int(match[2], 16), int(match[3])
        if end - first != size:
            raise AddressesHidden(
                "/proc/vmallocinfo shows hashed addresses",
                evidence=line[:200],
                advice="read it as root with kernel.kptr_restrict at 1",
            )
        if first >= start:
            ranges.append(BusyRange(first, end, match[4] or ""))
    return tuple(sorted(ranges))


def lowest_gap(busy: Iterable[BusyRange], size: int, start: int, end: int = MODULES_END) -> int:
    """Returns the lowest address in start..end with room for `size` bytes and a guard page.

    Raises ModuleAreaFull.
    """
    needed = -(-size // PAGE) * PAGE + PAGE
    address = start
    for taken in sorted(busy):
        if taken.start >= address + needed:
            break
        address = max(address, taken.end)
    if address + needed > end:
        raise ModuleAreaFull(
            f"the module area has no room for {needed} bytes", evidence=f"{start:#x}-{end:#x}"
        )
    return address


def predict_anchors(
    layout: Layout, busy: Iterable[BusyRange], start: int, end: int = MODULES_END
) -> dict[str, int]:
    """Returns block -> address, for a load while nothing else allocates.

    layout: layout of the module
    busy: ranges that are taken
    start: MODULES_VADDR plus the boot's random offset of 1 to 1024 pages, 0 under `nokaslr`; it equals the
        lowest address ever given out
    end: end of the module area

    Raises ModuleAreaFull; UnsupportedRelease from 6.13 on.
    """
    if facts.TEXT_CACHE.holds(layout.release):
        raise UnsupportedRelease(
            f"Linux {in_words(layout.release)} takes module text from a cache of large pages: "
            "its place does not follow from what is taken",
        )
    taken = list(busy)
    anchors = {}
    for block, size in layout.blocks.items():
        if size:
            anchors[block] = lowest_gap(taken, size, start, end)
            taken.append(BusyRange(anchors[block], anchors[block] + size + PAGE))
    return anchors
