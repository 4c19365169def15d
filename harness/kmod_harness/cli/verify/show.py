"""The text of a `verify`: a table of sections for each module, then the totals by mechanism."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from kmod_harness.cli.verdict_line import VerdictLine
from kmod_harness.report.colour import BOLD, RED, painted
from kmod_harness.report.columns import duration, error_lines, plural, table, wrapped

if TYPE_CHECKING:
    from kmod_harness.cli.verify.record import VerifyRecord
    from kmod_harness.klog.outcome import Outcome
    from kmod_harness.verify.report import Finding, ModuleReport, Report, SectionReport

#: Columns of a section's row; one with a longer name has its name on a line of its own.
_NAME_WIDTH = 25
_ROW = f"    {{:<{_NAME_WIDTH}}}  {{:<18}}  {{:>7}}  {{:>5}}  {{:>11}}"
#: The most findings of one module shown; --json holds all.
_MOST_FINDINGS = 20
_SHOWN_BYTES = 16


def show(report: Report, record: VerifyRecord, *, differences: bool) -> None:
    """Prints the report on stdout."""
    for module in report.modules:
        print(f"{painted(module.name, BOLD, sys.stdout)}  {module.file.path}")
        for line in (*_where(module, report), *_sections(module)):
            print(line)
        for finding in module.findings[:_MOST_FINDINGS]:
            print("\n".join(_finding_lines(finding)))
        if len(module.findings) > _MOST_FINDINGS:
            print(f"  ... {len(module.findings) - _MOST_FINDINGS} more findings, all in --json")
        if differences:
            for line in _difference_lines(module):
                print(f"  {line}")
        print()
    if record.plan is not None and record.plan.known:
        names = ", ".join(module.name for module in record.plan.known)
        print("\n".join(wrapped(f"loaded too, not verified: {names}", further="    ")))
    print("\n".join(_totals(report)))


def troubles(record: VerifyRecord) -> Iterator[str]:
    """The errors, and the limits of the verification, each in full."""
    from kmod_harness.releases.proven import note_of_newer  # lazy
    from kmod_harness.report.readable import readable  # lazy

    for splat in record.splats:
        yield painted(f"--- {splat.kind}: {splat.title}", BOLD, sys.stderr)
        yield from readable(splat, None)
    reason = _reason(record)
    told = reason if _line(record, "").has_reason else ""
    for error in record.errors:
        yield from error_lines(error, but=told)
    if record.report is not None:
        for limit in record.report.all_limits:
            yield from error_lines(limit, begin="not verified: ")
    if record.prepared is not None:
        for note in note_of_newer(record.prepared.kernel.release):
            yield from wrapped(f"note: {note}", further="      ")


def last_line(record: VerifyRecord, outcome: Outcome) -> str:
    """Returns the line to quote: outcome, why, seconds."""
    return str(_line(record, outcome.value))


def _line(record: VerifyRecord, outcome: str) -> VerdictLine:
    return VerdictLine(outcome, _reason(record), [f"{record.seconds:.1f} s"])


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
        return f"{plural(count, 'finding')} in {names}"
    modules = plural(len(report.modules), "module")
    if report.all_limits:
        return f"{modules}: nothing unexplained, but not all verified"
    return f"{modules}: every byte and permission explained"


def _where(module: ModuleReport, report: Report) -> Iterator[str]:
    pages = sorted({page for section in module.sections for page in section.pages})
    contiguous = all(b - a == 4096 for a, b in pairwise(pages))
    yield f"  at {module.address:#x}, KASLR slide {report.slide:#x}"
    yield (
        f"  {plural(len(pages), 'physical page')}, {'contiguous' if contiguous else 'scattered'}; "
        f"verified in {duration(module.seconds)}"
    )


def _sections(module: ModuleReport) -> Iterator[str]:
    """A row for each section, by the permissions of its pages; what was changed in it stands below."""
    yield _ROW.format("section", "address", "size", "reloc", "unexplained")
    for permissions, group in groupby(module.sections, lambda section: section.permissions):
        sections = tuple(group)
        yield f"  {permissions}, physical pages {_pages(sections)}"
        for section in sections:
            yield from _rows(section)


def _rows(section: SectionReport) -> Iterator[str]:
    name = section.name
    if len(name) > _NAME_WIDTH:
        yield f"    {name}"
        name = ""
    unexplained = section.unexplained_bytes
    row = _ROW.format(name, f"{section.address:#x}", section.size, section.relocations, unexplained)
    yield painted(row, RED, sys.stdout) if unexplained else row
    if section.explained:
        changed = ", ".join(f"{mechanism} {count}" for mechanism, count in section.explained.items())
        yield from wrapped(f"changed: {changed}", indent="        ")


def _pages(sections: Sequence[SectionReport]) -> str:
    """Returns the first page, how many more there are, and whether they lie apart."""
    pages = list(dict.fromkeys(page for section in sections for page in section.pages))
    if not pages:
        return "unknown"
    apart = any(after - before != 4096 for before, after in pairwise(pages))
    more = f" +{len(pages) - 1}" if len(pages) > 1 else ""
    return f"{pages[0]:#x}{more}{' scattered' if apart else ''}"


def _finding_lines(finding: Finding) -> list[str]:
    place = f"{finding.symbol} at {finding.address:#x}" if finding.symbol else f"{finding.address:#x}"
    lines = wrapped(f"FINDING ({finding.kind}) {place}: {finding.text}", indent="  ", further="      ")
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
    from kmod_harness.verify.changes import code_changes  # lazy

    for change in code_changes(module):
        target = f" ({change.bound_to})" if change.bound_to else ""
        yield f"{change.symbol} at {change.address:#x}: {change.mechanism}{target}"
        for label, data, code in (("was", change.old, change.old_code), ("is", change.new, change.new_code)):
            yield f"    {label:<4} " + ("; ".join(code) or data.hex(" "))


def _totals(report: Report) -> Iterator[str]:
    from kmod_harness.verify.mechanism import NOT_DETERMINED  # lazy
    from kmod_harness.verify.report import totals  # lazy

    total = totals(report.modules)
    changed = sum(total.explained.values())
    yield from wrapped(
        f"total: {plural(total.modules, 'module')}, {plural(total.bytes, 'byte')}, "
        f"{plural(total.relocations, 'relocation')} (kernel symbols: {report.symbols or 'unknown'}); "
        f"{total.equal} bytes as relocated, {changed} changed and explained, {total.unexplained} unexplained",
        further="    ",
    )
    rows = [("by", "bytes", "places", "what it wrote")]
    for mechanism, count in sorted(total.explained.items(), key=lambda item: -item[1]):
        how = NOT_DETERMINED.get(mechanism, "reproduced, and equal")
        rows.append((str(mechanism), str(count), str(total.places[mechanism]), how))
    if len(rows) > 1:
        yield from table(rows, (1, 2), indent="  ")
