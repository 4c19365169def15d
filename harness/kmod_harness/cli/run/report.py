"""What a person sees of a run: short lines on stderr, the last of which can be quoted."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from kmod_harness.errors import KernelPanic, KernelSplat, KmodHarnessError

if TYPE_CHECKING:
    from kmod_harness.cli.run.exit_status import Verdict
    from kmod_harness.cli.run.record import RunRecord
    from kmod_harness.klog.ktap import KtapResult
    from kmod_harness.klog.splats import Splat

_GREEN, _RED, _YELLOW, _PLAIN = "\x1b[1;32m", "\x1b[1;31m", "\x1b[1;33m", "\x1b[0m"
_COLOURS = {"passed": _GREEN, "nothing-tested": _YELLOW, "setup-error": _YELLOW}
#: The most lines of one report shown; --json holds all.
_MOST_LINES = 60


def say(text: str) -> None:
    """Prints a line on stderr; nobody there to read it is no failure (cli/streams.py)."""
    print(text, file=sys.stderr, flush=True)


def report(record: RunRecord, verdict: Verdict, *, expected: Collection[str] = ()) -> None:
    """Says what went wrong and the last line. Of a splat that was expected only the title is shown."""
    for splat in record.splats:
        say(f"--- {splat.kind}{' (expected)' if splat.kind in expected else ''}: {splat.title}")
        if splat.kind not in expected:
            say(_shortened(_with_lines(splat, record)))
    for case in record.cases:
        say(_case_line(case))
    for error in record.errors:
        if record.splats and isinstance(error, (KernelSplat, KernelPanic)):
            continue  # its evidence is the splat's text
        known = isinstance(error, KmodHarnessError)
        said = without_reason(str(error) if known else f"{type(error).__name__}: {error}", verdict.reason)
        if said:
            say(_shortened(said))
    if told := record.kept.transcripts.get("interrogation"):
        say(f"--- asked what it does, the guest says\n{_shortened(told)}")
    if record.bundle is not None:
        say(f"evidence: {record.bundle}")
    say(last_line(record, verdict, coloured=is_coloured(sys.stderr)))


def without_reason(text: str, reason: str) -> str:
    """Returns what an error says beyond the reason, which the last line gives and nobody reads twice."""
    first, _, rest = text.partition("\n")
    return rest if first == reason else text


def last_line(record: RunRecord, verdict: Verdict, *, coloured: bool = False) -> str:
    """Returns the line to quote: outcome, why, what was done, seconds."""
    word = coloured_word(verdict.outcome.value, coloured)
    parts = [verdict.reason] if verdict.reason else []
    loaded = sum(row.loaded is not None for row in record.modules)
    if loaded:
        parts.append(f"{loaded} module{'s' if loaded > 1 else ''} loaded")
    if record.completed is not None:
        parts.append(f"command: {record.completed.how}")
    if record.cases:
        parts.append(f"KUnit: {_counts(record.cases)}")
    parts.append(f"{record.seconds:.1f} s")
    return f"kmod-harness: {word}: {', '.join(parts)}"


def _with_lines(splat: Splat, record: RunRecord) -> str:
    """Returns the splat's text with source lines, or as it came where none can be told."""
    if record.prepared is None:
        return splat.text
    from kmod_harness.kmod.symbols.symbolizer import Symbolizer
    from kmod_harness.report.symbolized import symbolized

    modules = [row.file for row in record.modules]
    try:
        return symbolized(splat.text, Symbolizer(record.prepared.kernel.vmlinux, modules))
    except KmodHarnessError:
        return splat.text


def _case_line(case: KtapResult) -> str:
    reason = f" ({case.reason})" if case.reason else ""
    return "\n    ".join([f"KUnit: {case.status.value}: {case.name}{reason}", *case.diagnostics])


def _counts(cases: Sequence[KtapResult]) -> str:
    numbers = Counter(case.status.value for case in cases)
    return ", ".join(f"{numbers[word]} {word}" for word in ("passed", "failed", "skipped") if numbers[word])


def coloured_word(outcome: str, coloured: bool) -> str:
    """Returns the outcome's word, in its colour when asked to."""
    return f"{_COLOURS.get(outcome, _RED)}{outcome}{_PLAIN}" if coloured else outcome


def is_coloured(stream: object) -> bool:
    """True for a terminal, unless NO_COLOR is set (no-color.org) or it cannot."""
    isatty = getattr(stream, "isatty", None)
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return bool(isatty and isatty() and not plain)


def _shortened(text: str) -> str:
    lines = text.rstrip().splitlines()
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"... ({len(lines) - _MOST_LINES} more lines, all in --json)"]
    return "\n".join(lines)
