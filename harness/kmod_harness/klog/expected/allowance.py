"""Reports that may come: known trouble that fails nothing, so often at most and until a day."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from kmod_harness.klog.expected.expectation import Expectation, Report, are_expected, is_meant
from kmod_harness.klog.kinds import SplatKind

_FIELDS = ("title", "function", "times", "reason", "link", "expires")
_NEXT_FIELD = re.compile(rf"\s*;\s*(?={'|'.join(_FIELDS)}=)")


@dataclass(frozen=True)
class Allowance:
    """A report that may come.

    kind: the report's
    pattern: the guilty function or words of the title, as an Expectation's; "" for all of the kind
    title, function: the same for one of these alone; all that are given have to fit
    times: how often at most, in a run or a test; None for no limit
    reason, link: why it is allowed, and where that is written down
    expires: the last day on which it is allowed, None for no end
    """

    kind: SplatKind
    pattern: str = ""
    title: str = ""
    function: str = ""
    times: int | None = None
    reason: str = ""
    link: str = ""
    expires: date | None = None

    def __str__(self) -> str:
        parts = [f"{self.kind.value}:{self.pattern}" if self.pattern else self.kind.value]
        parts += [f"{name}={value}" for name in _FIELDS if (value := getattr(self, name)) not in ("", None)]
        return "; ".join(parts)

    @property
    def why(self) -> str:
        """The reason and the link, "" where neither is given."""
        return ", ".join(filter(None, (self.reason, self.link)))

    def matches(self, report: Report) -> bool:
        """Whether the report is one that is meant, however often it came."""
        return (
            report.kind == self.kind
            and (not self.pattern or is_meant(self.pattern, report.title, report.function))
            and (not self.title or is_meant(self.title, report.title))
            and (not self.function or is_meant(self.function, report.function))
        )

    def has_expired(self, today: date) -> bool:
        """Whether its last day lies behind."""
        return self.expires is not None and today > self.expires


def parse_allowance(text: str) -> Allowance:
    """Return what `KIND[:PATTERN]` allows, with `; NAME=VALUE` for each further field.

    Raises ValueError that says what is wrong: an unknown kind, a date or number of another form.

    >>> parse_allowance("WARNING:my_probe; times=2; reason=known").times
    2
    """
    head, *fields = _NEXT_FIELD.split(text.strip())
    kind, _, pattern = head.partition(":")
    said = dict(field.partition("=")[::2] for field in fields)
    name = kind.strip().upper().replace("-", "_")
    if name not in {one.value for one in SplatKind}:
        raise ValueError(f"there is no kind {kind.strip()!r}")
    return Allowance(
        kind=SplatKind(name),
        pattern=pattern.strip(),
        title=said.get("title", "").strip(),
        function=said.get("function", "").strip(),
        times=_times(said.get("times", "")),
        reason=said.get("reason", "").strip(),
        link=said.get("link", "").strip(),
        expires=_day(said.get("expires", "")),
    )


def allowing(
    reports: Sequence[Report], expected: Sequence[Expectation], allowed: Sequence[Allowance]
) -> list[Allowance | None]:
    """Return for each report what allows it, None for one that is expected or that nothing allows."""
    used: Counter[Allowance] = Counter()
    found: list[Allowance | None] = []
    for report, is_expected in zip(reports, are_expected(reports, expected), strict=True):
        fitting = (
            one for one in allowed if one.matches(report) and (one.times is None or used[one] < one.times)
        )
        by = None if is_expected else next(fitting, None)
        if by is not None:
            used[by] += 1
        found.append(by)
    return found


def are_excused(
    reports: Sequence[Report], expected: Sequence[Expectation], allowed: Sequence[Allowance]
) -> list[bool]:
    """Return for each report whether it is expected or allowed."""
    flags = are_expected(reports, expected)
    if not allowed:
        return flags
    by = allowing(reports, expected, allowed)
    return [flag or one is not None for flag, one in zip(flags, by, strict=True)]


def that_matched_nothing(reports: Sequence[Report], allowed: Iterable[Allowance]) -> list[Allowance]:
    """Return the allowances that no report is meant by, each once, in order."""
    return [one for one in dict.fromkeys(allowed) if not any(one.matches(report) for report in reports)]


def that_came_too_often(reports: Sequence[Report], allowed: Iterable[Allowance]) -> list[Allowance]:
    """Return the allowances that more reports are meant by than they excuse, each once, in order."""
    return [
        one
        for one in dict.fromkeys(allowed)
        if one.times is not None and sum(one.matches(report) for report in reports) > one.times
    ]


def _times(text: str) -> int | None:
    if not text.strip():
        return None
    if not text.strip().isdecimal() or int(text) == 0:
        raise ValueError(f"times takes a number above 0, not {text!r}")
    return int(text)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip()) if text.strip() else None
    except ValueError:
        raise ValueError(f"expires takes a day, as 2027-03-01, not {text!r}") from None
