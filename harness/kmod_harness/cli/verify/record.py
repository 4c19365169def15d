"""The results of one `verify`, and its outcome."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kmod_harness.klog.outcome import Outcome, outcome_of, outcome_of_error, worst

if TYPE_CHECKING:
    from kmod_harness.cli.verify.request import VerifyPlan
    from kmod_harness.klog.splats import Splat
    from kmod_harness.lifecycle.prepare import Prepared
    from kmod_harness.verify.report import Report


@dataclass
class VerifyRecord:
    """Filled while it goes on, so that whatever ends it leaves what was known until then."""

    started: float = field(default_factory=time.monotonic)
    prepared: Prepared | None = None
    plan: VerifyPlan | None = None
    report: Report | None = None
    splats: Sequence[Splat] = ()
    errors: list[Exception] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def outcome(self) -> Outcome:
        """The worst of them: a report of the kernel or an error, then a finding, then a limit."""
        found = worst(
            [Outcome.PASSED, outcome_of(self.splats), *(outcome_of_error(error) for error in self.errors)]
        )
        if found is not Outcome.PASSED:
            return found
        if self.report is None:
            return Outcome.SETUP_ERROR
        if not self.report.is_explained:
            return Outcome.FAILED
        return Outcome.SETUP_ERROR if self.report.all_limits else Outcome.PASSED
