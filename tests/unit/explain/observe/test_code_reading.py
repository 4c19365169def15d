"""What was read of a module's memory, as the history of its code."""

from __future__ import annotations

from kmod_harness.explain.observe.code_reading import code_history
from kmod_harness.explain.observed.code_history import Moment
from kmod_harness.explain.probes.load_stops import ModuleMemory
from kmod_harness.kmod.elf.module import Section
from kmod_harness.kmod.layout.placed import PlacedSection
from kmod_harness.kmod.layout.predict import Layout
from kmod_harness.verify.comparison import Difference
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.report import ModuleReport, SectionReport
from unit.explain.page import sample

BASE, INIT = sample.BASE, sample.BASE + 0x8000
TEXT = Section(".text", 1, "SHT_PROGBITS", 6, 0, 32, 16, 0)
LAYOUT = Layout((6, 1), {"core": 64, "init": 16}, (PlacedSection(TEXT, "core", 8),), (), None, None, None)
CALL = sample.bound(4, "_printk", BASE + 0x1000)._replace(where=BASE + 12)
INITS = CALL._replace(where=INIT + 2)


def memory(moment: Moment, core: bytes, init: bytes = bytes(16)) -> ModuleMemory:
    bases = {"core": BASE, "init": INIT}
    return ModuleMemory(moment, "here", bases, {"core": core, "init": init}, {"core": "rw-", "init": "rw-"})


def with_value(size: int, at: int) -> bytes:
    value = CALL.value.to_bytes(4, "little")
    return bytes(at) + value + bytes(size - at - 4)


def report(*differences: Difference) -> ModuleReport:
    section = SectionReport(
        name=".text", address=BASE + 8, size=32, region="text", pages=(), permissions="r-x", relocations=1,
        bound={}, equal=32, explained={}, differences=differences, section=TEXT,
        linked=bytes(32), memory=b"\x90" * 32,
    )  # fmt: skip
    return ModuleReport(sample.module(), BASE, (section,), (), (), 0.0)


def test_of_each_moment_there_is_the_code_alone_and_the_running_one_comes_last() -> None:
    copied = memory(Moment.COPIED, bytes(range(64)))
    history = code_history(LAYOUT, [copied], (), report())
    assert [one.moment for one in history.moments] == [Moment.COPIED, Moment.RUNNING]
    assert history.moments[0].code == bytes(range(8, 40))
    running = history.at(Moment.RUNNING)
    assert running is not None and (running.code, running.permissions) == (b"\x90" * 32, "r-x")
    assert history.at(Moment.LINKED) is None


def test_relocations_are_looked_up_in_every_block_at_the_moment_of_the_link() -> None:
    linked = memory(Moment.LINKED, with_value(64, 12), with_value(16, 2))
    history = code_history(LAYOUT, [linked], (CALL, INITS), report())
    assert (history.compared, history.differing) == (2, 0)


def test_one_that_is_not_as_computed_is_counted() -> None:
    linked = memory(Moment.LINKED, with_value(64, 12))
    history = code_history(LAYOUT, [linked], (CALL, INITS), report())
    assert (history.compared, history.differing) == (2, 1)


def test_what_lies_in_no_block_was_not_compared() -> None:
    elsewhere = CALL._replace(where=0x1000)
    history = code_history(LAYOUT, [memory(Moment.LINKED, bytes(64))], (elsewhere,), report())
    assert history.compared == 0


def test_patches_are_the_explained_differences() -> None:
    named = Difference(BASE + 8, bytes(5), b"\x90" * 5, b"\x90" * 5, Mechanism.FENTRY)
    strange = Difference(BASE + 20, b"\0", b"\0", b"\1", None)
    patches = code_history(LAYOUT, [], (), report(named, strange)).patches
    assert [(one.address, one.size, one.mechanism) for one in patches] == [(BASE + 8, 5, Mechanism.FENTRY)]
