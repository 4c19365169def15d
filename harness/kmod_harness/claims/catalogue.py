"""Every claim there is, and what a run's observations make of them."""

from __future__ import annotations

from .claim import Claim, Outcome
from .observations import Observations
from .statements.coming_and_going import RMMOD, ROOT
from .statements.linking import DYNAMIC, EXECUTABLE, PRIVATE, SYSTEM_MAP
from .statements.nature import COPIES, PART, STACK, SWAPPED
from .statements.placing import ANYWHERE, AROUND, BLOCK, TOP
from .statements.randomness import DOCUMENTED, MOVES
from .statements.running import INSMOD, QUIET, SYSCALL

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
            *(DOCUMENTED, MOVES, STACK, RMMOD, SWAPPED, COPIES, PRIVATE),
        ),
        key=lambda claim: claim.number,
    )
)


def outcomes(seen: Observations) -> tuple[Outcome, ...]:
    """Returns every claim with its verdict and evidence, in order."""
    return tuple(claim.outcome(seen) for claim in CLAIMS)
