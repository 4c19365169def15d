"""The last line of a command that judges: outcome, why, what was done; one line, to be quoted."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from kmod_harness.report.colour import outcome_word
from kmod_harness.report.columns import WIDTH


@dataclass(frozen=True)
class VerdictLine:
    """outcome: its word. reason: why, "" for nothing to say. facts: what was done, seconds among them."""

    outcome: str
    reason: str
    facts: Sequence[str]

    @property
    def has_reason(self) -> bool:
        """Whether the reason has room in the line; else it has to stand above it."""
        return len(self._with(self.outcome, self.reason)) <= WIDTH

    def __str__(self) -> str:
        """Return the line for stderr."""
        reason = self.reason if self.has_reason else "the reason is above"
        return self._with(outcome_word(self.outcome, sys.stderr), reason)

    def _with(self, word: str, reason: str) -> str:
        return f"kmod-harness: {word}: {', '.join([*filter(None, [reason]), *self.facts])}"
