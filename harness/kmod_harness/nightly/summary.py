"""The summary of a nightly run: a table for the terminal, and the same in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from kmod_harness.nightly.cells import CellResult, overall
from kmod_harness.report.colour import outcome_word
from kmod_harness.report.columns import wrapped

_HEADINGS = ("cell", "outcome", "passed", "not passed", "skipped", "seconds")
#: Columns of a cell's name; a longer one, of a kernel by its path, has a line of its own.
_CELL_WIDTH = 28
#: Names of failed tests shown for a cell; its report has them all.
_SHOWN_TESTS = 10


def text_summary(results: Sequence[CellResult], stream: TextIO | None = None) -> str:
    """Returns the table, each cell that did not pass with what failed and how to repeat it, and the verdict.

    stream: where it is printed; on a terminal outcomes are coloured
    """
    table = [_HEADINGS, *map(_row, results)]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADINGS))]
    widths[0] = min(widths[0], _CELL_WIDTH)
    lines = [_aligned(table[0], widths), "  ".join("-" * width for width in widths)]
    for name, *rest in map(_row, results):
        has_room = len(name) <= _CELL_WIDTH
        lines += [] if has_room else [name]
        lines.append(_aligned((name if has_room else "", *rest), widths, stream))
    for result in results:
        lines += _trouble(result, stream)
    return "\n".join([*lines, "", _last_line(results, stream)]) + "\n"


def markdown_summary(results: Sequence[CellResult]) -> str:
    """Returns the summary as Markdown; names from tests and the kernel are quoted as code."""
    lines = ["# Nightly", "", _markdown_row(_HEADINGS), _markdown_row(["---"] * len(_HEADINGS))]
    lines += [_markdown_row(_row(result)) for result in results]
    for result in results:
        trouble = _trouble(result)
        if trouble:
            lines += ["", f"## {result.cell.name}: {result.verdict.outcome}", "", "```", *trouble[2:], "```"]
    return "\n".join([*lines, "", _last_line(results)]) + "\n"


def _row(result: CellResult) -> tuple[str, ...]:
    verdict = result.verdict
    counts = (verdict.passed, len(verdict.not_passed), verdict.skipped)
    return (result.cell.name, verdict.outcome.value, *map(str, counts), f"{result.seconds:.0f}")


def _aligned(row: Sequence[str], widths: Sequence[int], stream: TextIO | None = None) -> str:
    left = [text.ljust(width) for text, width in zip(row[:2], widths[:2], strict=True)]
    right = [text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True)]
    left[1] = left[1].replace(row[1], outcome_word(row[1], stream)) if stream else left[1]
    return "  ".join([*left, *right]).rstrip()


def _trouble(result: CellResult, stream: TextIO | None = None) -> list[str]:
    """Returns nothing for a cell that passed, else a heading, the failures, and how to see them again."""
    verdict = result.verdict
    if verdict.outcome.exit_status == 0:
        return []
    lines = ["", f"{result.cell.name}: {outcome_word(verdict.outcome.value, stream)}"]
    lines += wrapped(verdict.trouble, indent="  ") if verdict.trouble else []
    failed = verdict.not_passed
    for case in failed[:_SHOWN_TESTS]:
        lines.append(f"  {case.outcome}: {case.name}")
        lines += wrapped(case.reason, indent="      ") if case.reason else []
        alone = result.alone(case)
        lines += [f"      alone: {alone}"] if alone else []
    if len(failed) > _SHOWN_TESTS:
        lines.append(f"  and {len(failed) - _SHOWN_TESTS} more")
    lines.append(f"  log: {result.directory / 'pytest.log'}")
    return [*lines, f"  again: {result.again}"]


def _last_line(results: Sequence[CellResult], stream: TextIO | None = None) -> str:
    outcome = overall(results)
    line = f"nightly: {outcome_word(outcome.value, stream)}, exit status {int(outcome.exit_status)}"
    if outcome.exit_status == 0:
        return line
    culprit = next(result for result in results if result.verdict.outcome is outcome)
    return f"{line}, first in {culprit.cell.name}"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
