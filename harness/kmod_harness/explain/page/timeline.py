"""finit_module from entry to return as bars over one time axis. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kmod_harness.explain.observed.observations import Step

#: Calls the module's init function and does little else (init/main.c, 6.1); init itself is not always traced.
_CALLER_OF_INIT = "do_one_initcall"
#: Steps drawn at most; the trace itself is folded below.
MAX_STEPS = 80


@dataclass(frozen=True)
class TimelineRow:
    """A step and its bar: left and width in per cent of the whole call."""

    step: Step
    left: float
    width: float
    is_init: bool


@dataclass(frozen=True)
class Timeline:
    """total: microseconds from entry to return."""

    rows: tuple[TimelineRow, ...]
    total: float
    left_out: int

    @property
    def init(self) -> TimelineRow | None:
        """The row of the module's own init function."""
        return next((row for row in self.rows if row.is_init), None)


def timeline(steps: Sequence[Step], init_function: str) -> Timeline:
    """Returns the bars in the order of time; the longest steps when there are too many."""
    end = max((step.at + step.took for step in steps), default=0.0)
    total = end or 1.0
    kept = set(sorted(range(len(steps)), key=lambda i: (steps[i].depth, -steps[i].took))[:MAX_STEPS])
    rows = tuple(
        TimelineRow(
            step,
            min(100.0, 100.0 * step.at / total),
            min(100.0, 100.0 * step.took / total),
            step.function in (init_function, _CALLER_OF_INIT),
        )
        for index, step in enumerate(steps)
        if index in kept
    )
    return Timeline(rows, end, len(steps) - len(rows))
