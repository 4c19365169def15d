"""Which reports are expected: by kind, or by kind and the function or title that they must have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from kmod_harness.klog.kinds import SplatKind

if TYPE_CHECKING:
    from kmod_harness.klog.splats import Splat


@dataclass(frozen=True)
class Report:
    """As much of a splat as an expectation looks at."""

    kind: str
    title: str = ""
    function: str = ""
    pid: int | None = None


@dataclass(frozen=True)
class Expectation:
    """A report that must come.

    pattern: the guilty function, words of the title, or a shell pattern (`*`, `?`, `[`) for all of either;
        "" for the first report of the kind, with all others about the same function.
    """

    kind: SplatKind
    pattern: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.pattern}" if self.pattern else self.kind.value

    def names(self, report: Report) -> bool:
        """Whether the report is of the kind and, by its pattern, the one meant."""
        return (
            report.kind == self.kind
            and bool(self.pattern)
            and is_meant(self.pattern, report.title, report.function)
        )


def is_meant(pattern: str, *texts: str) -> bool:
    """Return whether a text has these words, or is what a pattern of the shell (`*`, `?`, `[`) means."""
    if any(character in pattern for character in "*?["):
        return any(fnmatchcase(text, pattern) for text in texts)
    words = re.compile(rf"(?<!\w){re.escape(pattern)}(?!\w)")
    return any(words.search(text) for text in texts)


def parse_expectation(text: str) -> Expectation:
    """Return the expectation that `KIND` or `KIND:PATTERN` is. Raises ValueError for an unknown kind."""
    kind, _, pattern = text.partition(":")
    return Expectation(SplatKind(kind.strip().upper().replace("-", "_")), pattern.strip())


def report_of(splat: Splat) -> Report:
    """Return what an expectation looks at."""
    return Report(splat.kind.value, splat.title, splat.function, splat.pid)


def are_expected(reports: Sequence[Report], expected: Sequence[Expectation]) -> list[bool]:
    """Return for each report whether it was expected.

    A kind alone expects one thing: the first report of that kind, and those of the same function or title, or
    of none. Another one of the kind is unexpected, unless the kind is expected twice.
    """
    left = {kind: sum(e.kind is kind and not e.pattern for e in expected) for kind in SplatKind}
    met: set[tuple[str, str]] = set()
    flags = []
    for report in reports:
        is_named = any(expectation.names(report) for expectation in expected)
        thing = (report.kind, report.function or report.title)
        is_met = thing in met or (not report.function and any(kind == report.kind for kind, _ in met))
        if not is_named and not is_met and left.get(SplatKind(report.kind), 0):
            left[SplatKind(report.kind)] -= 1
            met.add(thing)
            is_met = True
        flags.append(is_named or is_met)
    return flags


def that_did_not_come(reports: Sequence[Report], expected: Iterable[Expectation]) -> list[Expectation]:
    """Return the expectations that no report meets, each once, in order."""
    kinds = {report.kind for report in reports}
    return [
        expectation
        for expectation in dict.fromkeys(expected)
        if not (
            any(expectation.names(report) for report in reports)
            if expectation.pattern
            else expectation.kind in kinds
        )
    ]


def kinds_of(expected: Iterable[Expectation]) -> frozenset[SplatKind]:
    """Return the kinds that are expected."""
    return frozenset(expectation.kind for expectation in expected)


def killed_by(pid: int | None, reports: Iterable[Report]) -> bool:
    """Whether an oops or BUG among these reports killed that process, as far as both tell who it was."""
    kills = (SplatKind.OOPS, SplatKind.BUG)
    return any(r.kind in kills and (pid is None or r.pid is None or r.pid == pid) for r in reports)
