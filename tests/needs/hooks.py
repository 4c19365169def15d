"""pytest's hooks: a need that is not met skips or fails its test; the run ends with a table of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from .catalogue import NEEDS
from .programs import watch
from .table import table

#: Groups of harness/scripts/debian-packages.txt that make has installed; set by the Makefile, unset by hand.
INSTALLED = "KH_INSTALLED"
_MISSING = "kh_missing"
_DECLARED = pytest.StashKey[list[frozenset[str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(name, ...): what the test needs (tests/needs/catalogue.py)")
    under_way = config.stash.setdefault(_DECLARED, [])
    sys.addaudithook(watch(lambda: under_way[-1] if under_way else None))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        unknown = sorted(_needs_of(item) - NEEDS.keys())
        if unknown:
            raise pytest.UsageError(
                f"{item.nodeid}: tests/needs/catalogue.py has no need {', '.join(unknown)}"
            )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    under_way = item.config.stash[_DECLARED]
    under_way.append(_needs_of(item))
    try:
        return (yield)
    finally:
        under_way.pop()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Comes before any fixture, which may need the same."""
    installed = frozenset(os.environ.get(INSTALLED, "").split())
    for name in sorted(_needs_of(item)):
        need = NEEDS[name]
        if need.there(item.config):
            continue
        broken = need.broken_promise(installed)
        if broken:
            item.user_properties.append((_MISSING, broken))
            pytest.fail(broken, pytrace=False)
        pytest.skip(need.reason)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Comes after everybody else's summary: what is last is read first."""
    yield
    stats = terminalreporter.stats
    lines = table((_reason(report), report.nodeid) for report in stats.get("skipped", []))
    if lines or INSTALLED in os.environ:
        terminalreporter.section("what was skipped, and why" if lines else "nothing was skipped")
    properties = [
        pair for report in stats.get("error", []) for pair in getattr(report, "user_properties", ())
    ]
    broken = dict.fromkeys(value for name, value in properties if name == _MISSING)
    terminalreporter.write("".join(f"{line}\n" for line in (*lines, *broken)))


def _needs_of(item: pytest.Item) -> frozenset[str]:
    return frozenset(name for marker in item.iter_markers("needs") for name in marker.args)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Returns why a test was skipped: pytest's longrepr is a file, a line and the reason."""
    told = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return told.removeprefix("Skipped: ")
