"""Reports about code of a module that is gone: the kernel has no name for it, the harness has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.raw_addresses import with_names
from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import find_splats
from kmod_harness.kmod.elf.module import Symbol
from kmod_harness.kmod.layout.module_addresses import ModuleAddresses

LATE_TIMER = """\
<1>[    5.389719] BUG: unable to handle page fault for address: ffffffffc022cca3
<1>[    5.391556] #PF: supervisor instruction fetch in kernel mode
<4>[    5.393223] Oops: 0010 [#1] SMP NOPTI
<4>[    5.394170] CPU: 0 PID: 0 Comm: swapper/0 Tainted: G           O       6.1.192-kmod-harness #1
<4>[    5.394842] RIP: 0010:0xffffffffc022cca3
<4>[    5.395357] Code: Unable to access opcode bytes at 0xffffffffc022cc79.
<4>[    5.397868] Call Trace:
<4>[    5.402938]  <IRQ>
<4>[    5.403321]  ? call_timer_fn+0x68/0xff
<4>[    5.413667] ---[ end trace 0000000000000000 ]---
"""
LEAK = """\
<4>[   50.611390] kmemleak: unreferenced object 0xffff888003641340 (size 64):
<4>[   50.612679] kmemleak:   comm "sh", pid 41, jiffies 4294897215
<4>[   50.616285] kmemleak:   backtrace:
<4>[   50.616504] kmemleak:     [<ffffffff916996d6>] kmalloc_trace+0x26/0xb0
<4>[   50.623997] kmemleak:     [<ffffffffc022ccb0>] 0xffffffffc022ccb0
<4>[   50.624586] kmemleak:     [<ffffffff91743154>] vfs_write+0x224/0xd60
<6>[   50.625994] kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)
"""


TEXT = {".text": 0xFFFFFFFFC022C000}


def _function(name: str, value: int, size: int) -> Symbol:
    return Symbol(name, value, size, "FUNC", "LOCAL", ".text")


def _mine() -> ModuleAddresses:
    addresses = ModuleAddresses()
    addresses.note("mine", [_function("mine_late", 0xCA3, 0x1B), _function("mine_init", 0, 0x40)], TEXT)
    return addresses


def test_a_jump_into_a_module_that_is_gone_is_named_after_its_function() -> None:
    records = parse_console(LATE_TIMER)
    (nameless,) = find_splats(records)
    (splat,) = find_splats(records, _mine().name_of)
    assert "mine" not in nameless.title
    assert (splat.kind, splat.function) == (SplatKind.OOPS, "mine_late")
    assert "RIP: 0010:mine_late+0x0/0x1b [mine]" in splat.text
    assert "opcode bytes at 0xffffffffc022cc79" in splat.text, "that is no place of anything"


def test_a_leak_is_that_of_the_function_that_allocated_although_its_module_is_gone() -> None:
    (splat,) = find_splats(parse_console(LEAK), _mine().name_of)
    assert splat.title == "memory leak in mine_late"
    assert "0xffff888003641340" in splat.text, "what lies in no module stays as it is"


def test_the_module_loaded_last_has_an_address() -> None:
    addresses = _mine()
    addresses.note("other", [_function("other_probe", 0xC00, 0x100)], TEXT)
    assert addresses.name_of(0xFFFFFFFFC022CCA3) == "other_probe+0xa3/0x100 [other]"
    assert addresses.name_of(0xFFFFFFFFC022C010) == "mine_init+0x10/0x40 [mine]"


def test_what_no_module_had_has_no_name() -> None:
    addresses = _mine()
    assert ModuleAddresses().name_of(0xFFFFFFFFC022CCA3) == ""
    assert [addresses.name_of(at) for at in (0xFFFFFFFFC022CCBE, 0xFFFFFFFFC022BFFF)] == ["", ""]


@given(st.text(max_size=300))
def test_any_text_keeps_its_number_of_records(text: str) -> None:
    records = parse_console(text)
    named = list(with_names(records, lambda _: "f+0x0/0x1 [m]"))
    assert [record.timestamp for record in named] == [record.timestamp for record in records]
