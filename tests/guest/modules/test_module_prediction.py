"""Where modules will be, from their files and what is taken, against where the kernel then puts them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from kmod_harness.guest.guest import Guest
from kmod_harness.kmod.addresses import MODULES_BASE_RANDOMIZED
from kmod_harness.kmod.elf.module import read_module
from kmod_harness.kmod.layout.module_area import (
    BusyRange,
    parse_vmallocinfo,
    predict_anchors,
)
from kmod_harness.kmod.layout.predict import predict_layout
from kmod_harness.kmod.link.exports import kernel_exports, module_exports, resolver
from kmod_harness.kmod.link.relocation import link
from kmod_harness.kmod.symbols.symbol_files import parse_kallsyms
from kmod_harness.releases import facts
from kmod_harness.releases.release import UnsupportedRelease


def busy_ranges(guest: Guest, freed: Iterable[int] = ()) -> tuple[BusyRange, ...]:
    """What is taken of the module area, once the blocks at `freed` are no more: init goes by a work queue."""
    freed = set(freed)
    for _ in range(1000):
        busy = parse_vmallocinfo(guest.read_text("/proc/vmallocinfo"), start=MODULES_BASE_RANDOMIZED)
        if not freed & {taken.start for taken in busy}:
            return busy
    raise AssertionError(f"of {sorted(map(hex, freed))} not all were freed")


def of_init(anchors: Mapping[str, int]) -> list[int]:
    """Where the blocks lie that go after init: one up to 6.3, from 6.4 on one for each kind of memory."""
    return [address for block, address in anchors.items() if block.startswith("init")]


def test_two_modules_lie_at_every_address_that_was_foretold(
    guest: Guest, chardev_ko: Path, chardev_stats_ko: Path
) -> None:
    guest.write_file("/proc/sys/kernel/kptr_restrict", b"1")
    first, second = read_module(chardev_ko), read_module(chardev_stats_ko)
    layout = predict_layout(first)
    taken_before = busy_ranges(guest)
    if facts.TEXT_CACHE.holds(layout.release):
        with pytest.raises(UnsupportedRelease, match="cache of large pages"):
            predict_anchors(layout, taken_before, MODULES_BASE_RANDOMIZED)
        return
    with guest.load(chardev_ko) as chardev:
        start = min([chardev.address, *(taken.start for taken in taken_before)])  # the boot's random offset
        anchors = predict_anchors(layout, taken_before, start)
        addresses = layout.addresses(anchors)
        expected = {p.section.name: addresses[p.section.index] for p in layout.placed if p.section.size}
        assert chardev.sections == expected

        layout = predict_layout(second)
        foretold = predict_anchors(layout, busy_ranges(guest, freed=of_init(anchors)), start)
        with guest.load(chardev_stats_ko) as stats:
            addresses = layout.addresses(foretold)
            expected = {p.section.name: addresses[p.section.index] for p in layout.placed if p.section.size}
            assert stats.sections == expected

            kallsyms = parse_kallsyms(guest.read_text("/proc/kallsyms"))
            symbols = resolver(kernel_exports(kallsyms), {})
            core = predict_layout(first)
            exported = module_exports(link(first, core, core.addresses(anchors), symbols))
            linked = link(
                second, layout, addresses, resolver(kernel_exports(kallsyms), {"chardev": exported})
            )
            assert {r.image for r in linked.relocations} >= {"vmlinux", "chardev", "chardev_stats"}
            assert exported.items() <= {e.name: e.address for e in kallsyms.of_module("chardev")}.items()
