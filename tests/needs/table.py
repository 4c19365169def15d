"""What was skipped and why, for the end of a run: one line for each reason."""

from __future__ import annotations

from collections.abc import Iterable

WIDTH = 80
#: Columns of a reason at most, so that the example beside it still says something.
_REASON = 42


def table(skipped: Iterable[tuple[str, str]]) -> list[str]:
    """Returns a line of at most WIDTH columns for each reason: how often, why, one of the tests.

    `skipped` holds a reason and a node id for each test; the reason met most often comes first.
    """
    tests: dict[str, list[str]] = {}
    for reason, test in skipped:
        tests.setdefault(" ".join(reason.split()), []).append(test)
    column = min(_REASON, max(map(len, tests), default=0))
    return [
        _cut(f"{len(found):5}  {_cut(reason, column):{column}}  {found[0]}", WIDTH)
        for reason, found in sorted(tests.items(), key=lambda item: -len(item[1]))
    ]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
