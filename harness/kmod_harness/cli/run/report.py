"""The text of a run: short lines on stderr, the last of which can be quoted."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kmod_harness.cli.verdict_line import VerdictLine
from kmod_harness.errors import KernelPanic, KernelSplat, KmodHarnessError
from kmod_harness.host.visible import visible
from kmod_harness.klog.expected.after_report import not_looked_for
from kmod_harness.klog.expected.allowance import (
    Allowance,
    allowing,
    are_excused,
    that_came_too_often,
    that_matched_nothing,
)
from kmod_harness.klog.expected.expectation import report_of
from kmod_harness.report.colour import BOLD, painted
from kmod_harness.report.columns import error_lines, plural, wrapped

if TYPE_CHECKING:
    from kmod_harness.cli.run.record import RunRecord
    from kmod_harness.cli.run.run_verdict import RunVerdict
    from kmod_harness.klog.expected.expectation import Expectation
    from kmod_harness.klog.ktap import KtapResult
    from kmod_harness.klog.records import KernelRecord
    from kmod_harness.klog.splats import Splat

#: The most lines of one error shown; --json holds all.
_MOST_LINES = 60
#: The most messages of the kernel shown.
_MOST_MESSAGES = 20
#: How its answer begins when it is asked why something hangs.
_ASKED = "sysrq: Show "
#: What the kernel says of any module that was not built with it.
_OF_ANY_MODULE = ("loading out-of-tree module taints kernel", "module verification failed: signature")


def say(text: str) -> None:
    """Prints a line on stderr; nobody there to read it is no failure (cli/streams.py)."""
    print(text, file=sys.stderr, flush=True)


def report(record: RunRecord, verdict: RunVerdict, *, expected: Sequence[Expectation] = ()) -> None:
    """Say what went wrong and the last line.

    Of a splat that was expected or allowed only the title is shown, of those that are alike the first and
    their number.
    """
    for line in said_by_kernel(record):
        say(line)
    reports = [report_of(splat) for splat in record.splats]
    by = allowing(reports, expected, record.allowed)
    flags = are_excused(reports, expected, record.allowed)
    excuses = dict(zip(map(id, record.splats), map(_excuse, flags, by), strict=True))
    for splat, is_excused, times in alike(record.splats, flags):
        often = f", {times} times, the first of them" if times > 1 else ""
        say_heading(f"{splat.kind}{excuses[id(splat)]}: {splat.title}{often}")
        if not is_excused:
            say("\n".join(_readable(splat, record)))
    for allowance in that_matched_nothing(reports, record.allowed):
        say_note(f"allowed, and did not come: {allowance}")
    for allowance in that_came_too_often(reports, record.allowed):
        say_note(f"allowed {allowance.times} times, and came more often: {allowance}")
    for allowance in record.allowed_once:
        say_note(f"allowed no more, since its last day has passed: {allowance}")
    excused = [splat.kind for splat, is_excused in zip(record.splats, flags, strict=True) if is_excused]
    for limit in not_looked_for(excused):
        say_note(limit)
    if record.splats:
        from kmod_harness.report.without_lines import notes_on_missing_lines  # lazy

        for note in notes_on_missing_lines(record.splats, record.files):
            say_note(note)
    for case in record.cases:
        say(_case_line(case))
    last = last_line(record, verdict)
    reason = verdict.reason.partition("\n")[0]
    shown = [*(splat.title for splat in record.splats), *(_first_line(error) for error in record.errors)]
    if not last.has_reason and reason not in shown:
        say("\n".join(wrapped(reason)))
    for error in record.errors:
        if record.splats and isinstance(error, (KernelSplat, KernelPanic)):
            continue  # its evidence is the splat's text
        said = error_lines(error, but=reason if last.has_reason else "")
        if said:
            say(_shortened(said))
    if told := record.kept.transcripts.get("interrogation"):
        say_heading("asked what it does, the guest says")
        lines = [part for line in told.rstrip().splitlines() for part in wrapped(line, further="        ")]
        say(_shortened(lines))
    if record.bundle is not None:
        say(f"evidence: {record.bundle}")
    say(str(last))


def said_by_kernel(record: RunRecord) -> list[str]:
    """Return the kernel's messages since the modules were loaded, the first of them, without its reports.

    What it says when it is asked why something hangs is told elsewhere.
    """
    since = record.log_before_load
    if since is None:
        return []
    reported = {line for splat in record.splats for line in range(splat.first_line, splat.last_line + 1)}
    asked = next((at for at, one in enumerate(record.records) if one.text.startswith(_ASKED)), None)
    lines = [
        f"[{one.timestamp:12.6f}] {visible(one.text)}"
        for at, one in enumerate(record.records[:asked])
        if at >= since and at not in reported and not _tells_nothing(one)
    ]
    if len(lines) > _MOST_MESSAGES:
        lines = [*lines[:_MOST_MESSAGES], f"... ({len(lines) - _MOST_MESSAGES} more messages, all in --json)"]
    return [part for line in lines for part in wrapped(line, further="    ")]


def _tells_nothing(record: KernelRecord) -> bool:
    """Whether a record is no message of a module's: a program's, or what the kernel says of any module."""
    is_of_any = any(words in record.text for words in _OF_ANY_MODULE)
    return record.timestamp is None or record.is_a_programs or is_of_any or not record.text.strip()


def alike(splats: Sequence[Splat], flags: Sequence[bool]) -> list[tuple[Splat, bool, int]]:
    """Return each splat that is the first of its kind, title and function, in order.

    flags: whether each splat was expected. With each comes whether it was, and how many are like it.
    """
    found: dict[tuple[object, ...], tuple[Splat, bool, int]] = {}
    for splat, is_expected in zip(splats, flags, strict=True):
        key = (splat.kind, splat.title, splat.function, is_expected)
        first, _, times = found.get(key, (splat, is_expected, 0))
        found[key] = (first, is_expected, times + 1)
    return list(found.values())


def _excuse(is_excused: bool, by: Allowance | None) -> str:
    if by is not None:
        return f" (allowed{': ' if by.why else ''}{by.why})"
    return " (expected)" if is_excused else ""


def say_note(text: str) -> None:
    """Say something beside the verdict, that may explain it."""
    say("\n".join(wrapped(f"note: {text}", further="      ")))


def say_heading(text: str) -> None:
    """Say a heading, bold on a terminal."""
    say(painted("\n".join(wrapped(f"--- {text}", further="    ")), BOLD, sys.stderr))


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "message", error)).partition("\n")[0]


def last_line(record: RunRecord, verdict: RunVerdict) -> VerdictLine:
    """Return the line to quote: outcome, why, what was done, seconds."""
    facts = []
    loaded = [row.load.is_given for row in record.modules if row.loaded is not None]
    if loaded:
        besides = f" and {loaded.count(False)} besides" if False in loaded else ""
        facts.append(f"{plural(loaded.count(True), 'module')}{besides} loaded")
    if record.completed is not None:
        facts.append(f"command: {record.completed.how}")
    if record.cases:
        facts.append(f"KUnit: {_counts(record.cases)}")
    return VerdictLine(verdict.outcome.value, verdict.reason, [*facts, f"{record.seconds:.1f} s"])


def _readable(splat: Splat, record: RunRecord) -> list[str]:
    """Return the splat's lines, with source lines where they can be told."""
    from kmod_harness.report.readable import readable  # lazy

    if record.prepared is None:
        return readable(splat, None)
    from kmod_harness.kmod.symbols.symbolizer import Symbolizer  # lazy
    from kmod_harness.report.symbolized import FrameLines  # lazy

    try:
        return readable(splat, FrameLines(Symbolizer(record.prepared.kernel.vmlinux, record.files)))
    except KmodHarnessError:
        return readable(splat, None)


def _case_line(case: KtapResult) -> str:
    reason = f" ({case.reason})" if case.reason else ""
    return "\n    ".join([f"KUnit: {case.status.value}: {case.name}{reason}", *case.diagnostics])


def _counts(cases: Sequence[KtapResult]) -> str:
    numbers = Counter(case.status.value for case in cases)
    return ", ".join(f"{numbers[word]} {word}" for word in ("passed", "failed", "skipped") if numbers[word])


def _shortened(lines: Sequence[str]) -> str:
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"... ({len(lines) - _MOST_LINES} more lines, all in --json)"]
    return "\n".join(lines)
