"""What `kmod-harness verify` comes to, and what it shows."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from kmod_harness.cli.given_modules import is_path
from kmod_harness.cli.verify.as_json import as_json
from kmod_harness.cli.verify.record import VerifyRecord
from kmod_harness.cli.verify.show import last_line, show
from kmod_harness.errors import KernelPanic, Misuse, ModuleNotExplained, QemuDied
from kmod_harness.klog.outcome import Outcome
from kmod_harness.kmod.elf.module import Symbol
from kmod_harness.kmod.symbols.symbolizer import Symbolizer
from kmod_harness.verify.changes import code_changes
from kmod_harness.verify.comparison import Difference
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.report import Finding, FindingKind, ModuleReport, Report, SectionReport, totals
from kmod_harness.verify.require_explained import require_explained
from kmod_harness.verify.source_location import source_line, symbol_at
from shared.schemas import require_schema
from unit.verify.images import TEXT, linked

OLD, NEW = b"\xe8\x01\x02\x03\x04\xc3", b"\x0f\x1f\x44\x00\x00\xc3"
FINDING = Finding(
    FindingKind.TEXT,
    "1 byte differs",
    TEXT,
    section=".text",
    symbol="f+0x0/0x6",
    source="f.c:7",
    expected=b"\x0f",
    found=b"\xcc",
    expected_code=("nop",),
    found_code=("int3",),
)


def report(*findings: Finding, limits: tuple[Misuse, ...] = ()) -> Report:
    symbols = (Symbol("f", 0, 6, "FUNC", "GLOBAL", ".text"), Symbol("g", 4, 0, "NOTYPE", "LOCAL", ".text"))
    module = linked({".text": (TEXT, OLD)}, symbols).module
    section = SectionReport(
        name=".text", address=TEXT, size=6, region="text", pages=(0x5000, 0x9000), permissions="r-x",
        relocations=1, equal=1, bound={TEXT + 1: "__fentry__"}, explained=Counter({Mechanism.FENTRY: 5}),
        differences=(Difference(TEXT, OLD[:5], NEW[:5], NEW[:5], Mechanism.FENTRY),),
        section=module.sections[0], linked=OLD, memory=NEW,
    )  # fmt: skip
    one = ModuleReport(module, TEXT, (section,), findings, (), 0.1)
    return Report((one,), 0x200000, "System.map", limits, 0.2)


@pytest.mark.parametrize(
    ("record", "outcome"),
    [
        (VerifyRecord(report=report()), Outcome.PASSED),
        (VerifyRecord(report=report(FINDING)), Outcome.FAILED),
        (VerifyRecord(report=report(limits=(Misuse("hidden"),))), Outcome.SETUP_ERROR),
        (VerifyRecord(report=report(FINDING, limits=(Misuse("hidden"),))), Outcome.FAILED),
        (VerifyRecord(errors=[Misuse("no such file")]), Outcome.SETUP_ERROR),
        (VerifyRecord(report=report(FINDING), errors=[KernelPanic("panic")]), Outcome.PANIC),
        (VerifyRecord(errors=[QemuDied("gone")]), Outcome.QEMU_DIED),
        (VerifyRecord(), Outcome.SETUP_ERROR),
    ],
)
def test_findings_fail_and_what_could_not_be_verified_is_no_pass(
    record: VerifyRecord, outcome: Outcome
) -> None:
    assert record.outcome is outcome


def test_the_table_names_pages_permissions_and_mechanisms(capsys: pytest.CaptureFixture[str]) -> None:
    record = VerifyRecord(report=report())
    show(record.report, record, differences=False)  # type: ignore[arg-type]
    out = capsys.readouterr().out
    assert "0x5000 +1 scattered" in out and "r-x" in out and "fentry NOP 5" in out
    assert "total: 1 module, 6 bytes, 1 relocation (kernel symbols: System.map)" in out
    assert [line for line in out.splitlines() if len(line) > 80] == []
    assert last_line(record, Outcome.PASSED).startswith("kmod-harness: passed: 1 module: every byte")


def test_a_finding_is_shown_with_symbol_line_bytes_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    record = VerifyRecord(report=report(FINDING))
    show(record.report, record, differences=True)  # type: ignore[arg-type]
    out = capsys.readouterr().out
    for text in ("f+0x0/0x6 at 0xffffffffc0100000", "f.c:7", "should be 0f", "is        cc", "int3"):
        assert text in out
    assert "1 finding in m" in last_line(record, Outcome.FAILED)


def test_the_json_object_is_json_and_complete() -> None:
    record = VerifyRecord(report=report(FINDING, limits=(Misuse("hidden", evidence="e", advice="a"),)))
    found = json.loads(json.dumps(as_json(record, Outcome.FAILED, differences=True)))
    require_schema(found, "verify")
    assert found["outcome"] == "failed" and found["exit_status"] == 1
    (module,) = found["modules"]
    assert module["sections"][0]["explained"] == {"fentry NOP": 5}
    assert module["findings"][0]["symbol"] == "f+0x0/0x6"
    assert module["code_changes"][0]["new"] == NEW[:5].hex()
    assert found["not_verified"][0] == {
        "type": "Misuse", "message": "hidden", "evidence": "e", "advice": "a"
    }  # fmt: skip
    assert found["totals"]["places"] == {"fentry NOP": 1}


def test_a_change_begins_with_its_instruction() -> None:
    (change,) = code_changes(report().modules[0])
    assert change.bound_to == "__fentry__"
    assert (change.address, change.symbol, change.old, change.new) == (TEXT, "f+0x0/0x6", OLD[:5], NEW[:5])


def test_a_test_raises_with_what_was_found_or_what_could_not_be() -> None:
    require_explained(report())
    with pytest.raises(ModuleNotExplained, match="1 finding in m") as error:
        require_explained(report(FINDING))
    assert "f+0x0/0x6" in error.value.evidence and "f.c:7" in error.value.evidence
    with pytest.raises(Misuse, match="hidden"):
        require_explained(report(limits=(Misuse("hidden"),)))


def test_totals_add_up() -> None:
    total = totals([*report().modules, *report().modules])
    assert (total.modules, total.bytes, total.equal) == (2, 12, 2)
    assert total.explained == {Mechanism.FENTRY: 10} and total.places == {Mechanism.FENTRY: 2}


def test_a_place_has_the_name_of_the_function_that_covers_it() -> None:
    module = report().modules[0].file
    assert symbol_at(module, module.sections[0], 5) == "f+0x5/0x6"
    assert source_line(Symbolizer(None, [module]), module, module.sections[0], 5) == ""


@pytest.mark.parametrize(
    ("word", "path"),
    [("xfs", False), ("./xfs", True), ("xfs.ko", True), ("a/b.ko.xz", True), ("nf_tables", False)],
)
def test_a_word_is_a_path_or_a_name(word: str, path: bool, tmp_path: Path) -> None:
    assert is_path(word) is path
