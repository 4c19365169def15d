"""pytest with kernels: the fixture `guest`, and the kernel log of every test judged.

Fixtures, each with a default and open to be overridden at its own or a wider scope:
`machine_spec` (session: a Spec) -> `machine` (session: `machine.guest()` boots one) ->
`pristine` (session: what every test starts from) -> `guest` (function).
`built_modules` (session): the modules that the repository's kmod-harness.toml names, built.
Precedence: an overridden fixture, then the command line, the ini file, kmod-harness.toml, the default.

A splat, panic, hang or death of QEMU during a test, or while its fixtures are torn down, is
a failure of that test. Nothing is probed, imported or booted before a test uses a fixture,
and no kernel is ever compiled. When no test ran, pytest's own exit status 5 says so.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from kmod_harness.pytest_plugin import markers, options, reporting
from kmod_harness.pytest_plugin.allowed import allowed_splats
from kmod_harness.pytest_plugin.fixtures import (
    built_modules,
    guest,
    machine,
    machine_spec,
    pristine,
    verify_modules,
)
from kmod_harness.pytest_plugin.phases import (
    pytest_runtest_call,
    pytest_runtest_makereport,
    pytest_runtest_setup,
    pytest_runtest_teardown,
)
from kmod_harness.pytest_plugin.state import STATE

__all__ = [
    "built_modules",
    "guest",
    "machine",
    "machine_spec",
    "pristine",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "pytest_runtest_teardown",
    "verify_modules",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    markers.register(config)
    config.stash[options.SETTINGS] = options.read_settings(config)


def pytest_report_header(config: pytest.Config) -> str | None:
    return reporting.header(config)


@pytest.hookimpl(wrapper=True)  # before xdist reads its groups, which it does first of all
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, object, object]:
    markers.check(items)
    allowed_splats.check(config, items)
    if config.getoption("loadgroup", False):
        markers.group_by_spec(items)
    return (yield)


def pytest_fixture_post_finalizer(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    """A `pristine` whose last test is over keeps no guest waiting, whoever owns the checkpoint."""
    if fixturedef.argname == "pristine" and STATE in request.config.stash:
        from kmod_harness.pytest_plugin.testbed import Pristine  # lazy

        value = fixturedef.cached_result[0] if fixturedef.cached_result else None
        if isinstance(value, Pristine):
            value.rest()


def pytest_enter_pdb(config: pytest.Config) -> None:
    """Deadlines stand still while a person debugs."""
    if STATE in config.stash:
        config.stash[STATE].clock.pause()


def pytest_leave_pdb(config: pytest.Config) -> None:
    if STATE in config.stash:
        config.stash[STATE].clock.resume()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    reporting.show_in_one_line(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporting.send_to_controller(session.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """xdist: a worker has ended."""
    reporting.take_from_worker(node.config, getattr(node, "workeroutput", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reporting.summary(terminalreporter, config)
