"""The kinds of reports that a kernel gives of itself."""

from __future__ import annotations

from enum import StrEnum


class SplatKind(StrEnum):
    """Kinds of reports; `expect_splat` and `--expect-splat` take these values."""

    OOPS = "OOPS"
    BUG = "BUG"
    WARNING = "WARNING"
    PANIC = "PANIC"
    ATOMIC_SLEEP = "ATOMIC_SLEEP"
    SOFT_LOCKUP = "SOFT_LOCKUP"
    HARD_LOCKUP = "HARD_LOCKUP"
    RCU_STALL = "RCU_STALL"
    HUNG_TASK = "HUNG_TASK"
    WORKQUEUE_LOCKUP = "WORKQUEUE_LOCKUP"
    KASAN = "KASAN"
    KMSAN = "KMSAN"
    KCSAN = "KCSAN"
    KFENCE = "KFENCE"
    UBSAN = "UBSAN"
    #: lockdep and the kernel's other lock and preemption debugging
    LOCKDEP = "LOCKDEP"
    KMEMLEAK = "KMEMLEAK"
    #: SLUB's own checks: redzones, poison, double free
    SLAB_CORRUPTION = "SLAB_CORRUPTION"
    BAD_PAGE = "BAD_PAGE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    #: an init that returns with interrupts off or a preemption count
    INIT_IMBALANCE = "INIT_IMBALANCE"
    OTHER = "OTHER"


#: The kernel itself says that something does not go on: a hang, not a splat (docs/design.md, decision 9).
HANG_KINDS = frozenset(
    (
        SplatKind.SOFT_LOCKUP,
        SplatKind.HARD_LOCKUP,
        SplatKind.RCU_STALL,
        SplatKind.HUNG_TASK,
        SplatKind.WORKQUEUE_LOCKUP,
    )
)
