"""Where init will run is known before the module is loaded, although nothing shows it and KASLR is on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kmod_harness.guest import Guest
from kmod_harness.kmod import parse_vmallocinfo, predict_anchors, predict_layout, read_module
from kmod_harness.kmod.addresses import MODULES_BASE_RANDOMIZED
from kmod_harness.machine.gdb_stub import Gdb


def taken(guest: Guest, freed: int) -> tuple:
    """What is taken of the module area, once init's block at `freed` is no more: a work queue frees it."""
    for _ in range(1000):
        busy = parse_vmallocinfo(guest.read_text("/proc/vmallocinfo"), start=MODULES_BASE_RANDOMIZED)
        if freed not in [one.start for one in busy]:
            return busy
    raise AssertionError(f"the block at {freed:#x} was not freed")


@pytest.mark.needs("gdb")
@pytest.mark.cold_boot
def test_a_breakpoint_at_the_predicted_init_function_is_hit(
    guest: Guest, chardev_ko: Path, chardev_stats_ko: Path
) -> None:
    guest.write_file("/proc/sys/kernel/kptr_restrict", b"1")
    before = taken(guest, 0)
    first = guest.load(chardev_ko)
    start = min([first.address, *(one.start for one in before)])
    freed = predict_anchors(predict_layout(first.file), before, start)["init"]
    assert first.sections[".init.text"] & ~0xFFF == freed

    second = read_module(chardev_stats_ko)
    layout = predict_layout(second)
    addresses = layout.addresses(predict_anchors(layout, taken(guest, freed), start))
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
