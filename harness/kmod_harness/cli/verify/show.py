"""What a person sees of a `verify`: a table of sections for each module, then the totals by mechanism."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from kmod_harness.cli.run.report import coloured_word, is_coloured, without_reason

if TYPE_CHECKING:
    from kmod_harness.cli.verify.record import VerifyRecord
    from kmod_harness.klog.outcome import Outcome
    from kmod_harness.verify.report import Finding, ModuleReport, Report, SectionReport

_HEADINGS = (
    "section",
    "address",
    "physical pages",
    "perm",
    "size",
    "reloc",
    "equal",
    "explained",
    "unexplained",
)
#: The most findings of one module shown; --json holds all.
_MOST_FINDINGS = 20
_SHOWN_BYTES = 16


def show(report: Report, record: VerifyRecord, *, differences: bool) -> None:
    """Prints the report on stdout."""
    for module in report.modules:
        print(f"{module.name}  {module.file.path}")
        print(_where(module, report))
        for line in _table([_HEADINGS, *(_row(section) for section in module.sections)], range(4, 7)):
            print(f"  {line}")
        for finding in module.findings[:_MOST_FINDINGS]:
            print("\n".join(_finding_lines(finding)))
        if len(module.findings) > _MOST_FINDINGS:
            print(f"  ... {len(module.findings) - _MOST_FINDINGS} more findings, all in --json")
        if differences:
            for line in _difference_lines(module):
                print(f"  {line}")
        print()
    if record.plan is not None and record.plan.known:
        print(f"loaded too, not verified: {', '.join(module.name for module in record.plan.known)}")
    print("\n".join(_totals(report)))


def troubles(record: VerifyRecord) -> Iterator[str]:
    """What went wrong or could not be verified, each in full."""
    for splat in record.splats:
        yield f"--- {splat.kind}: {splat.title}\n{splat.text}"
    for error in record.errors:
        if said := without_reason(str(error), _reason(record)):
            yield said
    if record.report is not None:
        for limit in record.report.all_limits:
            yield f"not verified: {limit}"


def last_line(record: VerifyRecord, outcome: Outcome) -> str:
    """Returns the line to quote: outcome, why, seconds."""
    word = coloured_word(outcome.value, is_coloured(sys.stderr))
    return f"kmod-harness: {word}: {_reason(record)}, {record.seconds:.1f} s"


def _reason(record: VerifyRecord) -> str:
    if record.splats:
        return record.splats[0].title
    if record.errors:
        error = record.errors[0]
        return str(getattr(error, "message", error)).splitlines()[0]
    if record.report is None:
        return "nothing was verified"
    report = record.report
    count = sum(len(module.findings) for module in report.modules)
    names = ", ".join(module.name for module in report.modules if module.findings)
    if count:
        return f"{count} finding{'s' if count > 1 else ''} in {names}"
    modules = f"{len(report.modules)} module{'s' if len(report.modules) > 1 else ''}"
    if report.all_limits:
        return f"{modules}: nothing unexplained, but not everything could be verified"
    return f"{modules}: every byte, address and permission is explained"


def _where(module: ModuleReport, report: Report) -> str:
    pages = sorted({page for section in module.sections for page in section.pages})
    contiguous = all(b - a == 4096 for a, b in pairwise(pages))
    return (
        f"  at {module.address:#x}, KASLR slide {report.slide:#x}; {len(pages)} physical pages, "
        f"{'contiguous' if contiguous else 'scattered'}; verified in {module.seconds:.2f} s"
    )


def _row(section: SectionReport) -> tuple[str, ...]:
    explained = ", ".join(f"{mechanism} {count}" for mechanism, count in section.explained.items())
    return (
        section.name,
        f"{section.address:#x}",
        _pages(section),
        section.permissions,
        str(section.size),
        str(section.relocations),
        str(section.equal),
        explained or "-",
        str(section.unexplained_bytes),
    )


def _pages(section: SectionReport) -> str:
    first = f"{section.pages[0]:#x}"
    more = len(section.pages) - 1
    return first if not more else f"{first} +{more}{'' if section.is_contiguous else ' scattered'}"


def _table(rows: Sequence[Sequence[str]], numbers: Container[int]) -> Iterator[str]:
    """Lines of columns as wide as they need; those in `numbers` stand at the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()


def _finding_lines(finding: Finding) -> list[str]:
    place = f"{finding.symbol} at {finding.address:#x}" if finding.symbol else f"{finding.address:#x}"
    lines = [f"  FINDING ({finding.kind}) {place}: {finding.text}"]
    if finding.source:
        lines.append(f"      source    {finding.source}")
    for label, data, code in (
        ("should be", finding.expected, finding.expected_code),
        ("is", finding.found, finding.found_code),
    ):
        if data:
            shown = data[:_SHOWN_BYTES].hex(" ") + (" ..." if len(data) > _SHOWN_BYTES else "")
            lines.append(f"      {label:<9} {shown}")
            lines += [f"                {line}" for line in code]
    return lines


def _difference_lines(module: ModuleReport) -> Iterator[str]:
    """Each explained change of code: where, by what, both bytes and both instructions."""
    from kmod_harness.verify.changes import code_changes

    for change in code_changes(module):
        target = f" ({change.bound_to})" if change.bound_to else ""
        yield f"{change.symbol} at {change.address:#x}: {change.mechanism}{target}"
        for label, data, code in (("was", change.old, change.old_code), ("is", change.new, change.new_code)):
            yield f"    {label:<4} " + ("; ".join(code) or data.hex(" "))


def _totals(report: Report) -> Iterator[str]:
    from kmod_harness.verify.mechanism import NOT_DETERMINED
    from kmod_harness.verify.report import totals

    total = totals(report.modules)
    changed = sum(total.explained.values())
    yield (
        f"total: {total.modules} module{'s' if total.modules > 1 else ''}, {total.bytes} bytes, "
        f"{total.relocations} relocations (kernel symbols: {report.symbols or 'unknown'}); "
        f"{total.equal} bytes as relocated, {changed} changed and explained, {total.unexplained} unexplained"
    )
    rows = [("by", "bytes", "places", "what it wrote")]
    for mechanism, count in sorted(total.explained.items(), key=lambda item: -item[1]):
        how = NOT_DETERMINED.get(mechanism, "reproduced, and equal")
        rows.append((str(mechanism), str(count), str(total.places[mechanism]), how))
    if len(rows) > 1:
        yield from (f"  {line}" for line in _table(rows, range(1, 3)))
