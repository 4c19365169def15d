"""Where the kernel puts a module's sections: against addresses that real kernels chose.

data/layout/RELEASE/NAME.ko.xz is a module of Debian's with every content but its tables of symbols
set to zero, NAME.json what its kernel showed: sysfs's sections, the module area's busy ranges before
the load, the size in /proc/modules, and how many symbols kallsyms listed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.kmod.layout.module_area import BusyRange, predict_anchors
from kmod_harness.kmod.layout.predict import predict_layout, release_of

RECORDED = sorted((Path(__file__).parents[1] / "data/layout").rglob("*.ko.xz"))


def recording(ko: Path) -> dict[str, Any]:
    return json.loads(ko.with_name(ko.name.replace(".ko.xz", ".json")).read_text())


def busy_ranges(recorded: dict[str, Any]) -> list[BusyRange]:
    return [BusyRange(*(int(end, 16) for end in text.split("-"))) for text in recorded["busy"]]


@pytest.fixture(params=RECORDED, ids=lambda ko: f"{ko.parent.name}-{ko.name.removesuffix('.ko.xz')}")
def recorded(request: pytest.FixtureRequest) -> tuple[KernelModule, dict[str, Any]]:
    return read_module(request.param), recording(request.param)


class TestOnRealKernels:
    def test_every_section_is_where_the_file_and_the_busy_ranges_say(
        self, recorded: tuple[KernelModule, dict[str, Any]]
    ) -> None:
        module, shown = recorded
        layout = predict_layout(module)
        busy = busy_ranges(shown)
        addresses = layout.addresses(predict_anchors(layout, busy, start=busy[0].start))
        predicted = {p.section.name: addresses[p.section.index] for p in layout.placed if p.section.size}
        assert predicted == {name: int(address, 16) for name, address in shown["sections"].items()}

    def test_the_core_has_the_size_of_proc_modules(
        self, recorded: tuple[KernelModule, dict[str, Any]]
    ) -> None:
        module, shown = recorded
        core = [size for block, size in predict_layout(module).blocks.items() if not block.startswith("init")]
        assert sum(core) == shown["size"]

    def test_kallsyms_lists_the_symbols_that_are_kept(
        self, recorded: tuple[KernelModule, dict[str, Any]]
    ) -> None:
        module, shown = recorded
        tables = predict_layout(module).core_kallsyms
        assert tables is not None
        assert sum(bool(module.symbol_table[i].name) for i in tables.indices) == shown["kallsyms"]

    def test_one_section_of_each_block_tells_the_others(
        self, recorded: tuple[KernelModule, dict[str, Any]]
    ) -> None:
        module, shown = recorded
        layout = predict_layout(module)
        anchors = layout.anchors({name: int(text, 16) for name, text in shown["sections"].items()})
        assert set(anchors) == {block for block, size in layout.blocks.items() if size}
        assert all(address % 4096 == 0 for address in anchors.values())

    def test_the_recordings_hold_both_generations(self) -> None:
        assert {release_of(read_module(ko)) for ko in RECORDED} == {(6, 1), (6, 12)}
