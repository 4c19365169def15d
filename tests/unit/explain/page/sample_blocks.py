"""The boot that never was, of explain_sample, by a kernel that keeps a module in several places."""

from __future__ import annotations

from dataclasses import replace

from kmod_harness.explain.observed.observations import Observations, Region
from unit.explain.page.sample import BASE


def by_memory_type(seen: Observations, release: str = "6.12.118-kmod-harness") -> Observations:
    """The same module as 6.4 and up would load it: code, constants and data in blocks of their own."""
    places = {"r-x": BASE, "r--": BASE + 0x4000, "rw-": BASE + 0x8000}
    used = dict.fromkeys(places, 0)
    moved_pages = []
    for page in seen.pages:
        moved_pages.append(replace(page, virtual=places[page.permissions] + used[page.permissions]))
        used[page.permissions] += 4096
    kept = tuple(
        replace(one, address=places[one.permissions] + one.address % 4096) if one.permissions else one
        for one in seen.sections
    )
    other = Region("virtio_console", BASE + 0x2000, BASE + 0x3000)
    return replace(
        seen,
        machine=replace(seen.machine, release=release),
        blocks=(
            Region("text", BASE, BASE + 0x1000),
            Region("data", BASE + 0x8000, BASE + 0xA000),
            Region("rodata", BASE + 0x4000, BASE + 0x6000),
            Region("init_text", BASE + 0x10000, BASE + 0x11000),
            Region("init_data", BASE + 0x12000, BASE + 0x13000),
        ),
        sections=kept,
        pages=tuple(moved_pages),
        space=replace(seen.space, modules=(other, Region(seen.module.name, BASE, BASE + 0x1000))),
    )
