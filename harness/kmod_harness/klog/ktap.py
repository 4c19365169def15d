"""KUnit's results in the kernel log: KTAP, version 1 (Documentation/dev-tools/ktap.rst, 6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from kmod_harness.klog.records import KernelRecord

_RESULT = re.compile(
    r"(?P<indent> *)(?P<not>not )?ok (?P<number>\d{1,6})(?: -)?(?: (?P<name>[^#]*?))?"
    r"(?:\s*# ?(?P<directive>SKIP|TODO|XFAIL|TIMEOUT|ERROR)\b:? ?(?P<reason>.*))?\s*"
)
_PLAN = re.compile(r"(?P<indent> *)1\.\.(?P<count>\d{1,6})(?:\s*# ?SKIP\b.*)?\s*")
_SUBTEST = re.compile(r"(?P<indent> *)# Subtest: (?P<name>.*)")
_DIAGNOSTIC = re.compile(r"(?P<indent> *)# (?P<text>.*)")
_VERSION = re.compile(r"(?P<indent> *)K?TAP version 1\d?\s*")
#: Columns of one level (ktap.rst: "two spaces" and more; KUnit writes four).
_LEVELS = 16


class TestStatus(StrEnum):
    __test__ = False  # pytest: not a class of tests

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class KtapResult:
    """One test case.

    name: with its suites before it, `suite/case`.
    reason: the text behind SKIP, TODO and the like, or what is missing; "" without one.
    diagnostics: the lines that the case printed of itself.
    """

    name: str
    status: TestStatus
    reason: str = ""
    diagnostics: tuple[str, ...] = ()


@dataclass
class _Level:
    """A list of tests whose end has not come yet; all its lines begin in one column."""

    column: int
    name: str = ""
    planned: int | None = None
    seen: int = 0
    diagnostics: list[str] = field(default_factory=list)


def ktap_results(records: Iterable[KernelRecord]) -> tuple[KtapResult, ...]:
    """Return the test cases reported in a log, in order; () when it holds no KTAP.

    A suite's own line sums up its cases, so it counts only where the suite has none. A suite that reports
    fewer tests than it planned gives a failed result `suite/(missing)`: a suite that died is no success.
    Other lines in between are passed over. Raises nothing; takes time linear in the log's size.
    """
    results: list[KtapResult] = []
    levels: list[_Level] = []
    begun = False
    for record in records:
        text = record.text[:1024]
        begun = begun or bool(_VERSION.fullmatch(text))
        if not begun:
            continue
        if match := _SUBTEST.fullmatch(text):
            _level(levels, len(match["indent"])).name = match["name"].strip()
        elif match := _PLAN.fullmatch(text):
            _level(levels, len(match["indent"])).planned = int(match["count"])
        elif match := _RESULT.fullmatch(text):
            results += _result(match, levels)
        elif (match := _DIAGNOSTIC.fullmatch(text)) and levels:
            levels[-1].diagnostics.append(match["text"].strip())
    for level in reversed(levels):
        results += _missing(level, levels)
    return tuple(results)


def _level(levels: list[_Level], column: int) -> _Level:
    """Return the open list whose lines begin in this column, a new one inside the last when none does."""
    while levels and levels[-1].column > column:
        levels.pop()
    if not levels or levels[-1].column < column:
        if len(levels) == _LEVELS:
            return levels[-1]
        levels.append(_Level(column))
    return levels[-1]


def _result(match: re.Match[str], levels: list[_Level]) -> list[KtapResult]:
    column = len(match["indent"])
    inner = [level for level in levels if level.column > column]
    found = [missing for level in reversed(inner) for missing in _missing(level, levels)]
    level = _level(levels, column)
    level.seen += 1
    diagnostics, level.diagnostics = tuple(level.diagnostics), []
    if any(below.seen for below in inner):
        return found  # the line sums up what was reported one by one
    path = "/".join(outer.name for outer in levels if outer.name)
    name = (match["name"] or match["number"]).strip()
    full = f"{path}/{name}" if path else name
    return [*found, KtapResult(full, _status(match), (match["reason"] or "").strip(), diagnostics)]


def _status(match: re.Match[str]) -> TestStatus:
    if match["directive"] == "SKIP":
        return TestStatus.SKIPPED
    return TestStatus.FAILED if match["not"] else TestStatus.PASSED


def _missing(level: _Level, levels: list[_Level]) -> list[KtapResult]:
    if level.planned is None or level.seen >= level.planned:
        return []
    path = [outer.name for outer in levels if outer.name and outer.column <= level.column]
    lacking = level.planned - level.seen
    return [
        KtapResult(
            "/".join([*path, "(missing)"]), TestStatus.FAILED, f"{lacking} of {level.planned} never ended"
        )
    ]
