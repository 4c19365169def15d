"""Wrappers of a test's three phases: what the kernel did is raised in the phase in which it did it."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from kmod_harness.errors import KmodHarnessError
from kmod_harness.pytest_plugin.allowed.allowed_splats import allowances, note_what_came
from kmod_harness.pytest_plugin.failure.frames import hide_own_frames
from kmod_harness.pytest_plugin.failure.text import failure_text
from kmod_harness.pytest_plugin.fixtures import follow_override
from kmod_harness.pytest_plugin.markers import expectations
from kmod_harness.pytest_plugin.reporting import node_to_type
from kmod_harness.pytest_plugin.session import state_of
from kmod_harness.pytest_plugin.state import CASE, RUNNING, STATE, Case

#: What a phase may end with; not Ctrl-C, not pytest.exit().
_FAILURES = (Exception, pytest.fail.Exception, pytest.skip.Exception)

Phase = Generator[None, object, object]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Phase:
    item.stash[CASE] = Case(expectations(item), allowances(item))
    item.config.stash[RUNNING] = item
    follow_override(item)
    if STATE in item.config.stash:
        item.config.stash[STATE].begin_test()
    try:
        return (yield)
    except _FAILURES as error:
        _conclude(item, "setup", error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Phase:
    result: object = None
    raised: BaseException | None = None
    try:
        result = yield
    except _FAILURES as error:
        raised = error
    _conclude(item, "call", raised)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Phase:
    result: object = None
    raised: BaseException | None = None
    state = item.config.stash.get(STATE, None)
    if state is not None:
        state.end_hung_guests()
    try:
        result = yield
    except _FAILURES as error:
        raised = error
    try:
        _conclude(item, "teardown", raised)
    finally:
        if _is_judged(item):
            note_what_came(item)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    shows_all = item.config.getoption("fulltrace")
    if call.excinfo is not None and not shows_all:
        hide_own_frames(call.excinfo)
    report = yield
    error = None if call.excinfo is None else call.excinfo.value
    is_ours = isinstance(error, KmodHarnessError) and not shows_all
    if call.excinfo is not None and report.failed and is_ours:
        where = item.stash[CASE].where if CASE in item.stash else ()
        report.longrepr = failure_text(item, call.excinfo, where)  # type: ignore[assignment]
    if CASE in item.stash:
        if _is_judged(item):
            _record(item, item.stash[CASE], report, error)
        item.stash[CASE].has_failed |= report.failed
        if report.when == "teardown" and item.stash[CASE].has_failed:
            # JUnit's own names leave open which of their words are files
            report.user_properties.append(("kh_node", node_to_type(item)))
    return report


def _conclude(item: pytest.Item, phase: str, raised: BaseException | None) -> None:
    """Raises what the phase comes to; returns when that is nothing."""
    if not _is_judged(item):
        if raised is not None:
            raise raised
        return
    from kmod_harness.pytest_plugin.judgement import conclude  # lazy

    state, case = state_of(item.config), item.stash[CASE]
    failure = conclude(state, case, phase, raised, is_verbose=item.config.get_verbosity() > 0)
    if case.late:
        from kmod_harness.pytest_plugin.late import report_late  # lazy

        late, case.late = case.late, []
        for incident in late:
            failure = report_late(item, incident) or failure
    if failure is None:
        return
    if not isinstance(failure, pytest.skip.Exception):
        from kmod_harness.pytest_plugin.bundles import leave_bundle  # lazy

        leave_bundle(item, state, case, failure)
        from kmod_harness.pytest_plugin.attach import offer_gdb  # lazy

        offer_gdb(item, state)
    if failure is raised:
        raise failure
    raise failure from raised


def _is_judged(item: pytest.Item) -> bool:
    """Whether a test uses guests, or expects something of one; a fixture of that name may be a stranger's.

    One that did stays one that does: a fixture that it asks for by getfixturevalue() is in no list.
    """
    case = item.stash[CASE]
    if case.expected:
        return True
    if STATE in item.config.stash and not case.is_judged:
        state = item.config.stash[STATE]
        is_listed = "machine" in getattr(item, "fixturenames", ())
        case.is_judged = is_listed or state.was_used or bool(state.incidents)
    return case.is_judged


def _record(item: pytest.Item, case: Case, report: pytest.TestReport, error: BaseException | None) -> None:
    """Puts the evidence into the report, and with the last phase the outcome among the test's properties."""
    from kmod_harness.pytest_plugin.judgement import outcome_of_phase, worst_outcome  # lazy

    case.outcomes.append(outcome_of_phase(report, error))
    report.sections += case.sections
    case.sections = []
    if report.when == "teardown":
        outcome = ("kh_outcome", worst_outcome(case.outcomes))
        item.user_properties.append(outcome)
        report.user_properties.append(outcome)
