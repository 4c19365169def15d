"""KUnit's results in the kernel log: KTAP, version 1 (Documentation/dev-tools/ktap.rst, 6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from kmod_harness.klog.records import KernelRecord

_DIRECTIVES = "SKIP|TODO|XFAIL|TIMEOUT|ERROR"
#: `#` is a character of a name unless a directive follows it; a number may be missing (TAP 14).
_RESULT = re.compile(
    r"(?P<indent> *)(?P<not>not )?ok(?: (?P<number>\d{1,6}))?(?: -)?"
    rf"(?: (?!# ?(?i:{_DIRECTIVES})\b)(?P<name>\S.*?)??)?"
    rf"(?:\s+# ?(?i:(?P<directive>{_DIRECTIVES}))\b:? ?(?P<reason>.*))?\s*"
)
#: What no other line may say: one that is understood by no rule is a failure all the same.
_FAILURE = re.compile(r" *(?:not ok\b|Bail out!)")
#: kunit_print_test_stats, lib/kunit/test.c, 6.1
_TOTALS = re.compile(r" *# Totals: pass:\d{1,9} fail:(?P<failed>\d{1,9}) .*")
_PLAN = re.compile(
    r"(?P<indent> *)1\.\.(?P<count>\d{1,6})(?:\s*# ?(?P<skip>(?i:SKIP))\b:? ?(?P<reason>.*))?\s*"
)
_SUBTEST = re.compile(r"(?P<indent> *)# Subtest: (?P<name>.*)")
_DIAGNOSTIC = re.compile(r"(?P<indent> *)# (?P<text>.*)")
_VERSION = re.compile(r"(?P<indent> *)K?TAP version \d{1,3}\s*")
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
    """A list of tests whose end has not come yet; all its lines begin in one column.

    seen, failed: how many of its tests were reported, and how many of those failed, or hold one that did.
    """

    column: int
    name: str = ""
    planned: int | None = None
    seen: int = 0
    failed: int = 0
    diagnostics: list[str] = field(default_factory=list)


def ktap_results(records: Iterable[KernelRecord]) -> tuple[KtapResult, ...]:
    """Return the test cases reported in a log, in order; () when it holds no KTAP.

    A suite's own line sums up its cases, so it counts only where the suite has none, or where it failed and
    none of them did. A suite that reports fewer tests than it planned gives a failed result
    `suite/(missing)`: a suite that died is no success; one whose totals count failures that were not read
    gives `suite/(totals)`. A `not ok` in another form is a failure. Other lines in between are passed over.
    Raises nothing; takes time linear in the log's size.
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
            level = _level(levels, len(match["indent"]))
            if match["skip"]:
                level.seen = int(match["count"])
                results.append(
                    KtapResult(_path(levels, "(all)"), TestStatus.SKIPPED, match["reason"].strip())
                )
            level.planned = int(match["count"])
        elif match := _RESULT.fullmatch(text):
            results += _result(match, levels)
        elif _FAILURE.match(text):
            results.append(_not_understood(text, levels))
        elif match := _TOTALS.fullmatch(text):
            results += _uncounted(int(match["failed"]), levels)
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
    has_failed = bool(found) or any(below.failed for below in inner)
    level = _level(levels, column)
    level.seen += 1
    diagnostics, level.diagnostics = tuple(level.diagnostics), []
    status, reason = _status(match), (match["reason"] or "").strip()
    level.failed += has_failed or status is TestStatus.FAILED
    if any(below.seen for below in inner):
        if has_failed or status is not TestStatus.FAILED:
            return found  # the line sums up what was reported one by one
        reason = reason or "it failed, and none of its cases did"
    name = (match["name"] or match["number"] or "(unnamed)").strip()
    return [*found, KtapResult(_path(levels, name), status, reason, diagnostics)]


def _path(levels: list[_Level], name: str) -> str:
    return "/".join([*(outer.name for outer in levels if outer.name), name])


def _not_understood(text: str, levels: list[_Level]) -> KtapResult:
    """Return the failure that a line tells though it has no known form."""
    column = len(text) - len(text.lstrip(" "))
    level = _level(levels, column)
    level.failed += 1
    return KtapResult(_path(levels, text.strip()), TestStatus.FAILED)


def _uncounted(failed: int, levels: list[_Level]) -> list[KtapResult]:
    """Return the failure of totals that count failed cases where none was read."""
    if not failed or any(level.failed for level in levels):
        return []
    if levels:
        levels[-1].failed += failed
    reason = f"{failed} failed by its totals, and none was read"
    return [KtapResult(_path(levels, "(totals)"), TestStatus.FAILED, reason)]


def _status(match: re.Match[str]) -> TestStatus:
    if (match["directive"] or "").upper() == "SKIP":
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
