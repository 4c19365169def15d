"""Relocations as rows and sums, and the one that is worked out."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from kmod_harness.explain.page.relocations import MAX_ROWS, formula_text, relocation_rows, relocation_summary
from kmod_harness.explain.page.render import relocations_csv
from unit.explain.page import sample, sample_code


def test_rows_are_by_address_and_named_after_the_function_they_lie_in() -> None:
    rows = relocation_rows(sample.module(), sample.sections(), tuple(reversed(sample.relocations())))
    assert [row.where for row in rows] == sorted(row.where for row in rows)
    assert (rows[1].place, rows[1].section, rows[1].symbol) == ("chardev_open+0x10", ".text", "_printk")
    assert next(row.place for row in rows if row.section == ".rodata") == ".rodata+0x10"
    assert rows[1].written == "e1 a8 1f c2"


def test_what_an_address_is_bound_to_has_a_kind() -> None:
    summary = relocation_summary(sample.module(), sample.sections(), sample.relocations())
    assert {kind: count for kind, _, count in summary.by_image} == {"kernel": 3, "own": 3, "per-cpu": 1}
    other = sample.bound(0x200, "shared", 0xFFFFFFFFC0200000, "chardev_core")
    assert relocation_summary(sample.module(), sample.sections(), [other]).by_image == (
        ("other", "chardev_core", 1),
    )


def test_the_example_is_a_call_whose_sum_holds() -> None:
    example = relocation_summary(sample.module(), sample.sections(), sample.relocations()).example
    assert example is not None
    assert example.row.symbol == "_printk"  # not the compiler's hook __fentry__
    assert example.distance == example.row.target + example.row.addend - example.row.where
    assert example.before == "e8 00 00 00 00"
    assert example.after == "e8 e1 a8 1f c2"


def test_the_example_is_of_the_function_that_the_page_follows_where_that_calls() -> None:
    seen = sample_code.observations()
    given = (seen.module, seen.sections, seen.linking.relocations)
    for function, symbol in (("chardev_free", "kvfree"), ("another", "kvfree")):
        example = relocation_summary(*given, function).example
        assert example is not None and example.row.symbol == symbol
    both = (*seen.linking.relocations, sample.bound(0x15B, "_printk", 0xFFFFFFFF822B1A40))
    module = replace(sample.module(), data=bytes(seen.module.data))
    example = relocation_summary(module, seen.sections, both, "chardev_open").example
    assert example is not None and example.row.symbol == "_printk"


def test_an_example_that_does_not_add_up_is_not_shown() -> None:
    wrong = tuple(bound._replace(value=bound.value ^ 1) for bound in sample.relocations())
    assert relocation_summary(sample.module(), sample.sections(), wrong).example is None


def test_what_is_no_call_instruction_is_no_example() -> None:
    module = replace(sample.module(), data=bytes(0x4DC))
    assert relocation_summary(module, sample.sections(), sample.relocations()).example is None


def test_a_large_module_is_cut_on_the_page_and_whole_in_the_file() -> None:
    seen = sample.observations(relocation_count=5000)
    summary = relocation_summary(seen.module, seen.sections, seen.linking.relocations)
    assert (summary.total, len(summary.rows), summary.left_out) == (5000, MAX_ROWS, 5000 - MAX_ROWS)
    assert summary.by_image[0] == ("kernel", "vmlinux", 4996)
    listed = list(csv.DictReader(io.StringIO(relocations_csv(seen))))
    assert len(listed) == 5000
    assert listed[1]["symbol"] == "_printk"


def test_formulas_are_the_kernels() -> None:
    assert formula_text("R_X86_64_PC32") == "S + A - P, 4 bytes"
    assert formula_text("R_X86_64_64") == "S + A, 8 bytes"
    assert formula_text("R_X86_64_NONE") == ""
