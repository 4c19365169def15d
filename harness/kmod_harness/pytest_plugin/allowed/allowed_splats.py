"""Reports that may come: of the marker `allow_splat`, of --kh-allow-splat, of kmod-harness.toml."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from kmod_harness.pytest_plugin.options import SETTINGS
from kmod_harness.pytest_plugin.state import CASE

if TYPE_CHECKING:
    from kmod_harness.klog.expected.allowance import Allowance

MARKER = "allow_splat"
_FIELDS = ("title", "function", "times", "reason", "link", "expires")


@dataclass
class AllowedInSession:
    """The allowances of tests with guests, as texts: how many reports each excused, and those expired."""

    excused: Counter[str] = field(default_factory=Counter)
    expired: set[str] = field(default_factory=set)


IN_SESSION = pytest.StashKey[AllowedInSession]()


def check(config: pytest.Config, items: Iterable[pytest.Item]) -> None:
    """Raises pytest.UsageError for an allowance that is written wrong, naming the test or the option."""
    for text in config.stash[SETTINGS].allowed:
        _parsed(text, "allow_splat (--kh-allow-splat, kmod-harness.toml)")
    for item in items:
        for mark in item.iter_markers(MARKER):
            _of_mark(mark, item.nodeid)


def allowances(item: pytest.Item) -> tuple[Allowance, ...]:
    """Returns what may come during a test, its own markers first; what has expired is noted and left out."""
    marks = [_of_mark(mark, item.nodeid) for mark in item.iter_markers(MARKER)]
    texts = item.config.stash[SETTINGS].allowed
    if not marks and not texts:
        return ()
    today = date.today()
    found = [*marks, *(_parsed(text, MARKER) for text in texts)]
    session = item.config.stash.setdefault(IN_SESSION, AllowedInSession())
    session.expired.update(str(one) for one in found if one.has_expired(today))
    return tuple(one for one in found if not one.has_expired(today))


def note_what_came(item: pytest.Item) -> None:
    """Counts what the test's allowances have excused, at its end."""
    case = item.stash[CASE]
    if not case.allowed:
        return
    from kmod_harness.klog.expected.allowance import allowing  # lazy

    session = item.config.stash.setdefault(IN_SESSION, AllowedInSession())
    session.excused.update({str(one): 0 for one in case.allowed})
    session.excused.update(str(one) for one in allowing(case.came, case.expected, case.allowed) if one)


def sent(config: pytest.Config) -> dict[str, Any]:
    """Returns what this process has noted, in types that xdist can send."""
    session = config.stash.get(IN_SESSION, AllowedInSession())
    return {"excused": dict(session.excused), "expired": sorted(session.expired)}


def told(noted: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yields a line for each allowance of a session, from what its processes have noted."""
    excused: Counter[str] = Counter()
    expired: set[str] = set()
    for one in noted:
        # update() would drop those that excused nothing
        for text, number in one["excused"].items():
            excused[text] += number
        expired.update(one["expired"])
    for text, number in excused.items():
        if number:
            yield f"allowed, and came {'once' if number == 1 else f'{number} times'}: {text}"
        else:
            yield f"allowed, and did not come: {text}"
    for text in sorted(expired):
        yield f"allowed no more, since its last day has passed: {text}"


def _of_mark(mark: pytest.Mark, test: str) -> Allowance:
    unknown = set(mark.kwargs) - {*_FIELDS, "kind"}
    words = [*mark.args, *([mark.kwargs["kind"]] if "kind" in mark.kwargs else [])]
    if len(words) != 1 or unknown:
        raise pytest.UsageError(
            f"{test}: {MARKER} takes one KIND or KIND:PATTERN, and {', '.join(_FIELDS)} by name"
        )
    fields = [f"{name}={mark.kwargs[name]}" for name in _FIELDS if name in mark.kwargs]
    return _parsed("; ".join([str(words[0]), *fields]), f"{test}: {MARKER}")


def _parsed(text: str, where: str) -> Allowance:
    from kmod_harness.klog.expected.allowance import parse_allowance  # lazy

    try:
        return parse_allowance(text)
    except ValueError as error:
        raise pytest.UsageError(f"{where}: {text}: {error}") from None
