"""Every claim there is, and what a run's observations make of them."""

from __future__ import annotations

from kmod_harness.explain.claims.admission import TAINT, VERMAGIC
from kmod_harness.explain.claims.claim import Claim, JudgedClaim
from kmod_harness.explain.claims.coming_and_going import RMMOD, ROOT
from kmod_harness.explain.claims.linking import DYNAMIC, EXECUTABLE, PRIVATE, SYSTEM_MAP
from kmod_harness.explain.claims.nature import COPIES, PART, STACK, SWAPPED
from kmod_harness.explain.claims.placing import ANYWHERE, AROUND, BLOCK, TOP
from kmod_harness.explain.claims.randomness import DOCUMENTED, MOVES
from kmod_harness.explain.claims.running import INSMOD, QUIET, SYSCALL
from kmod_harness.explain.observed.observations import Observations

CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (
            *(
                EXECUTABLE,
                TOP,
                AROUND,
                ANYWHERE,
                PART,
                BLOCK,
                INSMOD,
                ROOT,
                QUIET,
                SYSCALL,
                DYNAMIC,
                SYSTEM_MAP,
            ),
            *(DOCUMENTED, MOVES, STACK, RMMOD, SWAPPED, COPIES, PRIVATE, VERMAGIC, TAINT),
        ),
        key=lambda claim: claim.number,
    )
)


def judge_claims(seen: Observations) -> tuple[JudgedClaim, ...]:
    """Returns every claim with its verdict and evidence, in order."""
    return tuple(claim.judged(seen) for claim in CLAIMS)
