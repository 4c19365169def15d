"""Where init will run is known before the module is loaded, although nothing shows it and KASLR is on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guest.modules.test_module_prediction import busy_ranges, of_init
from kmod_harness.guest.guest import Guest
from kmod_harness.kmod.addresses import MODULES_BASE_RANDOMIZED
from kmod_harness.kmod.elf.module import read_module
from kmod_harness.kmod.layout.module_area import predict_anchors
from kmod_harness.kmod.layout.predict import predict_layout
from kmod_harness.machine.gdb.gdb_process import Gdb
from kmod_harness.releases import facts
from kmod_harness.releases.release import UnsupportedRelease


@pytest.mark.cold_boot
@pytest.mark.needs("gdb")
def test_a_breakpoint_at_the_predicted_init_function_is_hit(
    guest: Guest, chardev_ko: Path, chardev_stats_ko: Path
) -> None:
    guest.write_file("/proc/sys/kernel/kptr_restrict", b"1")
    before = busy_ranges(guest)
    first = guest.load(chardev_ko)
    layout = predict_layout(first.file)
    if facts.TEXT_CACHE.holds(layout.release):
        # code comes from a cache there
        with pytest.raises(UnsupportedRelease):
            predict_anchors(layout, before, MODULES_BASE_RANDOMIZED)
        return
    start = min([first.address, *(one.start for one in before)])
    anchors = predict_anchors(layout, before, start)
    assert first.sections[".init.text"] & ~0xFFF in of_init(anchors)

    second = read_module(chardev_stats_ko)
    layout = predict_layout(second)
    addresses = layout.addresses(predict_anchors(layout, busy_ranges(guest, of_init(anchors)), start))
    init = next(symbol for symbol in second.symbols if symbol.name == "init_module")
    section = second.section(init.section)
    predicted = addresses[section.index] + init.value

    with ThreadPoolExecutor(1) as pool, Gdb(guest.machine) as gdb:
        gdb.ask(f"hbreak *{predicted:#x}")
        gdb.resume()
        loading = pool.submit(guest.load, chardev_stats_ko)
        assert gdb.await_stop() == "breakpoint-hit"
        assert gdb.value("$pc") == predicted
        gdb.ask("delete")
        gdb.resume()
        loaded = loading.result(timeout=60)
    assert loaded.sections[".init.text"] + init.value == predicted
