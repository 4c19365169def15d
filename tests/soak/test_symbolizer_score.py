"""20 traces through all four text sections: every frame reads as addr2line reads it.

The score of the kernel's own scripts/decode_stacktrace.sh stands beside it; build/test/symbolizer.md.
On another kernel: `pytest tests/soak/test_symbolizer_score.py --kh-kconfig FILE --kh-memory SIZE`.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kmod_harness import Guest
from kmod_harness.build.modules import build_modules
from kmod_harness.checks.system_map import read_slide
from kmod_harness.errors import KernelSplat, ProcessKilled
from kmod_harness.lifecycle.prepare import Prepared, prepare
from kmod_harness.lifecycle.standby import GuestSource
from kmod_harness.spec.spec import Spec
from soak.trace_scores import Chain, Entry, Place, Truth, decoded, entries, symbolized, truths

SOURCES = Path(__file__).parent / "crossing"
TABLE = Path("build/test/symbolizer.md")
SECTIONS = (".text", ".init.text", ".exit.text", ".text.unlikely")
#: Where the calls begin, what the fault is, how deep it is: crossing/crossing.c.
CASES = [
    (start, fault, at)
    for start in ("init", "exit", "write")
    for fault, at in (
        ("warn", "entry"),
        ("oops", "entry"),
        ("divide", "step"),
        ("bug", "cold"),
        ("gp", "back"),
        ("warn", "back"),
    )
] + [("init", "warn", "cold"), ("exit", "oops", "cold")]


@dataclass(frozen=True)
class Trace:
    """A report as ttyS0 carried it, of a kernel that ran `slide` bytes from where it was linked."""

    name: str
    log: str
    slide: int


@dataclass(frozen=True)
class Reading:
    """A frame, what it means, and what was said of it; seconds: of a processor, for the whole trace."""

    trace: str
    entry: Entry
    truth: Truth
    ours: Chain
    theirs: Chain
    seconds: float

    @property
    def ours_is_right(self) -> bool:
        return self.ours == self.truth.of_call

    @property
    def theirs_is_right(self) -> bool:
        return self.theirs == _lines(self.truth.of_call)

    @property
    def theirs_is_right_of_the_return(self) -> bool:
        return self.theirs == _lines(self.truth.of_return)


def _lines(chain: Chain) -> Chain:
    return tuple(Place("", place.path, place.line) for place in chain)


@pytest.fixture(scope="module")
def prepared(machine_spec: Spec) -> Prepared:
    return prepare(replace(machine_spec, kernel=machine_spec.kernel or "minimal"))


@pytest.fixture(scope="module")
def crossing_ko(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    (module,) = build_modules(SOURCES, prepared.kernel, tmp_path_factory.mktemp("built") / "crossing")
    return module


@pytest.fixture(scope="module")
def traces(prepared: Prepared, crossing_ko: Path) -> list[Trace]:
    """One for each case, each of a guest of its own."""
    return list(recorded(prepared, crossing_ko))


def recorded(prepared: Prepared, module: Path) -> Iterator[Trace]:
    with GuestSource(prepared) as source:
        for start, fault, at in CASES:
            with source.guest() as guest:
                slide = read_slide(guest, prepared.kernel)
                assert slide is not None
                yield Trace(
                    f"{fault} at {at}, from {start}", provoked(guest, module, start, fault, at), slide
                )


def provoked(guest: Guest, module: Path, start: str, fault: str, at: str) -> str:
    """Returns what the kernel reports; all faults but a warning kill the task that met them."""
    mark = guest.kernel_log.mark()
    dies = pytest.raises((KernelSplat, ProcessKilled)) if fault != "warn" else contextlib.nullcontext()
    parameters = {"from": start, "fault": fault, "at": at}
    if start == "init":
        with dies:
            guest.load(module, parameters)
    else:
        loaded = guest.load(module, parameters)
        with dies:
            if start == "exit":
                loaded.unload()
            else:
                guest.process().open("/sys/module/crossing/parameters/go", os.O_WRONLY).write(b"1")
    guest.kernel_log.sync(guest.process())
    splats = guest.kernel_log.splats_since(mark)
    assert splats
    # with UBSAN a division by zero is reported twice
    return "\n".join(splat.text for splat in splats)


@pytest.fixture(scope="module")
def readings(
    prepared: Prepared, crossing_ko: Path, traces: list[Trace], tmp_path_factory: pytest.TempPathFactory
) -> list[Reading]:
    vmlinux, build = prepared.kernel.vmlinux, prepared.kernel.build_dir
    assert vmlinux is not None and build is not None
    source, modules = (build / "source").resolve(), {"crossing": crossing_ko}
    directory = tmp_path_factory.mktemp("logs")
    of, rows, ours, seconds = [], [], [], []
    for number, trace in enumerate(traces):
        log = directory / f"{number}.log"
        log.write_text(trace.log)
        found = entries(trace.log)
        of += [trace.name] * len(found)
        rows += found
        before = _seconds_of_children()
        ours += symbolized(log, vmlinux, modules, source)
        seconds += [_seconds_of_children() - before] * len(found)
    theirs = decoded([row.line for row in rows], vmlinux, crossing_ko.parent, source)
    truth = truths(rows, vmlinux, modules)
    return [Reading(*each) for each in zip(of, rows, truth, ours, theirs, seconds, strict=True)]


def _seconds_of_children() -> float:
    """Processor time: how busy the machine is does not matter."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_every_frame_reads_as_addr2line_reads_it(
    readings: list[Reading], traces: list[Trace], capsys: pytest.CaptureFixture[str]
) -> None:
    table = told(readings, traces)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(table)
    with capsys.disabled():
        print(f"\n{table}")

    assert len(traces) >= 20
    assert all(trace.slide for trace in traces), "without KASLR this proves less"
    sections = Counter(reading.truth.section for reading in readings)
    assert all(sections[section] >= 5 for section in SECTIONS), sections
    assert any(reading.theirs_is_right for reading in readings), "the script read nothing: was it given all?"
    wrong = [reading for reading in readings if not reading.ours_is_right]
    assert not wrong, "\n".join(map(str, wrong))


def test_a_trace_takes_less_than_a_second_of_a_processor(readings: list[Reading], prepared: Prepared) -> None:
    assert prepared.kernel.vmlinux is not None
    assert prepared.kernel.vmlinux.stat().st_size > 150e6, "too small to prove anything"
    assert max(reading.seconds for reading in readings) < 1


def told(readings: Sequence[Reading], traces: Sequence[Trace]) -> str:
    """The scores by trace and by section: frames right."""
    groups = [[reading for reading in readings if reading.trace == trace.name] for trace in traces]
    rows = [_row(trace.name, group) for trace, group in zip(traces, groups, strict=True)]
    rows.append(_row("all", readings))
    rows += [
        _row(f"all in {section or 'the kernel'}", [r for r in readings if r.truth.section == section])
        for section in (*SECTIONS, "")
    ]
    seconds = max(reading.seconds for reading in readings)
    slides = ", ".join(f"{slide:#x}" for slide in sorted({trace.slide for trace in traces}))
    return "\n".join(
        (
            f"Frames whose lines, inlined ones included, are addr2line's; KASLR slides {slides}.",
            "`symbolize` has to name the inlined functions too; decode_stacktrace.sh prints none.",
            "The line of a return address is that of the call before it. The script takes the line of the",
            "address itself: the last column counts what is right of that.",
            f"symbolize took at most {seconds:.2f} s of a processor a trace.",
            "",
            "| trace | frames | symbolize | decode_stacktrace.sh | of the address itself |",
            "|---|---|---|---|---|",
            *rows,
            "",
        )
    )


def _row(name: str, readings: Sequence[Reading]) -> str:
    rights = ("ours_is_right", "theirs_is_right", "theirs_is_right_of_the_return")
    counts = (sum(getattr(reading, right) for reading in readings) for right in rights)
    return " | ".join(("| " + name, str(len(readings)), *map(str, counts))) + " |"
