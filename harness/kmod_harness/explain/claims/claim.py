"""A claim about module loading: a statement, what people believe, and a verdict that measurements decide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from kmod_harness.explain.claims.checked_release import checked_in
from kmod_harness.explain.observed.observations import Observations

Side = Literal["inside", "outside"]


class Verdict(Enum):
    """How a claim stands after the experiment, on the kernel it was made with."""

    TRUE = "true"
    IMPRECISE = "imprecise"
    OUTDATED = "outdated"
    FALSE = "false"
    #: this run could not tell; the explanation says why
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Evidence:
    """The evidence of one side: a sentence, and the raw thing it rests on (a listing, a table, a trace).

    `side`: `inside` the guest, or `outside` through QEMU. `impossible` says why this side cannot
    tell, "" where it can; summary and detail are "" then.
    """

    side: Side
    summary: str = ""
    detail: str = ""
    impossible: str = ""


@dataclass(frozen=True)
class JudgedClaim:
    """A claim after its experiment. `explanation` says what is really so.

    source: file:line in the kernel's source, with the release that this was looked up in.
    """

    number: int
    key: str
    statement: str
    usual_belief: str
    verdict: Verdict
    explanation: str
    inside: Evidence
    outside: Evidence
    source: str


@dataclass(frozen=True)
class Claim:
    """`judge`, `explain`, `inside` and `outside` are pure functions of what was measured.

    Another machine gives other observations, and so another verdict.
    """

    number: int
    key: str
    statement: str
    usual_belief: str
    source: str
    judge: Callable[[Observations], Verdict]
    explain: Callable[[Observations], str]
    inside: Callable[[Observations], Evidence]
    outside: Callable[[Observations], Evidence]

    def judged(self, seen: Observations) -> JudgedClaim:
        """Returns the claim with its verdict and both sides' evidence."""
        return JudgedClaim(
            self.number,
            self.key,
            self.statement,
            self.usual_belief,
            self.judge(seen),
            self.explain(seen),
            self.inside(seen),
            self.outside(seen),
            f"{self.source} ({checked_in(seen.machine.release)})",
        )
