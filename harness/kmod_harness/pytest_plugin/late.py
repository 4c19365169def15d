"""Reports that the kernel made late, told as those of the earlier test that caused them."""

from __future__ import annotations

import pytest

from kmod_harness.errors import KmodHarnessError
from kmod_harness.klog.outcome import outcome_of_error
from kmod_harness.pytest_plugin.bundles import leave_bundle
from kmod_harness.pytest_plugin.failure.text import as_failure, error_text_lines
from kmod_harness.pytest_plugin.reporting import node_to_type
from kmod_harness.pytest_plugin.session import state_of
from kmod_harness.pytest_plugin.state import CASE
from kmod_harness.pytest_plugin.watched import Incident


def report_late(during: pytest.Item, incident: Incident) -> KmodHarnessError | None:
    """Reports a splat as an error of the test that did it, which has ended; None when that was possible.

    xdist takes reports of the running test alone: there it is this test's, the culprit named. One of a
    kind that the culprit expected is no error.
    """
    culprit, error = incident.culprit, incident.error
    assert culprit is not None
    if culprit.stash[CASE].expects([incident])[0]:
        return None
    if hasattr(during.config, "workerinput"):
        error.message = f"{error.message}, which {culprit.nodeid} did, after it had ended"
        return error
    error.message = f"{error.message}, after the test had ended, during {during.nodeid}"
    case = culprit.stash[CASE]
    leave_bundle(culprit, state_of(culprit.config), case, error)
    properties = [("kh_outcome", outcome_of_error(error).value), ("kh_node", node_to_type(culprit))]
    report = pytest.TestReport(
        culprit.nodeid,
        culprit.location,
        dict.fromkeys(culprit.keywords, 1),
        "failed",
        as_failure("\n".join(error_text_lines(error)), str(culprit.path)),  # type: ignore[arg-type]
        "teardown",
        sections=case.sections,
        user_properties=properties,
    )
    culprit.ihook.pytest_runtest_logreport(report=report)
    return None
