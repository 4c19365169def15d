"""What was skipped and why, for the end of a run: a reason, and below it one of its tests."""

from __future__ import annotations

from collections.abc import Iterable

WIDTH = 80


def table(skipped: Iterable[tuple[str, str]]) -> list[str]:
    """Returns two lines of at most WIDTH columns for each reason: how often and why, one of the tests.

    `skipped` holds a reason and a node id for each test; the reason met most often comes first.
    """
    tests: dict[str, list[str]] = {}
    for reason, test in skipped:
        tests.setdefault(" ".join(reason.split()), []).append(test)
    return [
        _cut(line)
        for reason, found in sorted(tests.items(), key=lambda item: -len(item[1]))
        for line in (f"{len(found):5}  {reason}", f"       {found[0]}")
    ]


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."
