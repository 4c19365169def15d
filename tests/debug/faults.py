"""Every fault of modules/faulty, and the report that a kernel owes us for it, by its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kmod_harness.klog.kinds import HANG_KINDS, SplatKind
from kmod_harness.klog.outcome import Outcome


@dataclass(frozen=True)
class Report:
    """What a kernel with these Kconfig symbols reports first, of kind or, where it is a race, of `kind_too`.

    kind None: it can say nothing, it hangs.
    """

    kind: SplatKind | None
    needs: tuple[str, ...] = ()
    outcome: Outcome | None = None
    kind_too: SplatKind | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(kind.value for kind in (self.kind, self.kind_too) if kind)

    @property
    def verdict(self) -> Outcome:
        if self.outcome is not None:
            return self.outcome
        if self.kind is SplatKind.PANIC:
            return Outcome.PANIC
        return Outcome.HANG if self.kind is None or self.kind in HANG_KINDS else Outcome.SPLAT


@dataclass(frozen=True)
class Fault:
    """A fault and where it is provoked. reports: the first one whose symbols the kernel has is due.

    timeout: seconds the command may take. late: seconds a report may come after it, settle: after
    the unload. A kernel with none of the reports' symbols does not see the fault: it is not provoked there.
    append: what its command line needs from the release `append_since` on.
    """

    name: str
    reports: tuple[Report, ...]
    when: str = "write"
    timeout: float = 60.0
    late: float = 0.2
    settle: float = 0.0
    impatient: bool = False
    cpus: int = 1
    append: str = ""
    append_since: tuple[int, int] = (0, 0)

    @property
    def id(self) -> str:
        return f"{self.name}-{self.when}" + (f"-{self.cpus}cpus" if self.cpus > 1 else "")

    def report(self, config: Mapping[str, str]) -> Report | None:
        """The report due on a kernel with this configuration, None when it does not see the fault."""
        return next(
            (r for r in self.reports if all(config.get(symbol) == "y" for symbol in r.needs)),
            None,
        )


def _sees(kind: SplatKind, *needs: str) -> tuple[Report, ...]:
    return (Report(kind, needs),)


_K = SplatKind
_KASAN, _LOCKDEP, _UBSAN = _sees(_K.KASAN, "KASAN"), _sees(_K.LOCKDEP, "PROVE_LOCKING"), _K.UBSAN


FAULTS = (
    # traps.c
    Fault("oops", _sees(_K.OOPS)),
    Fault("oops", _sees(_K.OOPS), when="init"),
    Fault("oops", _sees(_K.OOPS), when="exit"),
    Fault("gp_fault", _sees(_K.OOPS)),
    Fault("divide", (Report(_K.UBSAN, ("UBSAN_DIV_ZERO",)), Report(_K.OOPS))),
    Fault("bug", _sees(_K.BUG)),
    Fault("bug", _sees(_K.BUG), when="init"),
    Fault("warn", _sees(_K.WARNING)),
    Fault("warn", _sees(_K.WARNING), when="init"),
    Fault("warn", _sees(_K.WARNING), when="exit"),
    Fault("warn_once", _sees(_K.WARNING)),
    Fault("refcount", _sees(_K.WARNING)),
    Fault("panic", _sees(_K.PANIC)),
    Fault("panic", _sees(_K.PANIC), when="init"),
    # memory.c
    Fault("use_after_free", _KASAN),
    Fault("use_after_free", _KASAN, when="init"),
    Fault("use_after_free", _KASAN, when="exit"),
    Fault("out_of_bounds", _KASAN),
    Fault("global_out_of_bounds", _KASAN),
    Fault("double_free", _KASAN),
    Fault("leak", _sees(_K.KMEMLEAK, "DEBUG_KMEMLEAK")),
    Fault("slab_corruption", _sees(_K.SLAB_CORRUPTION, "SLUB_DEBUG")),
    # later kernels look at freed pages only where they are told to (check_pages_enabled, mm/mm_init.c, 6.12)
    Fault("bad_page", _sees(_K.BAD_PAGE), append="init_on_free=1", append_since=(6, 3)),
    # its neighbours are poison: a list that is not checked has the processor stumble over them
    Fault("list_corruption", (Report(_K.WARNING, ("DEBUG_LIST",)), Report(_K.OOPS))),
    Fault("free_active_timer", _sees(_K.WARNING, "DEBUG_OBJECTS_FREE", "DEBUG_OBJECTS_TIMERS")),
    Fault("out_of_memory", _sees(_K.OUT_OF_MEMORY), timeout=20),
    # stack.c
    Fault("stack_out_of_bounds", _KASAN),
    Fault("stack_smash", _sees(_K.PANIC, "STACKPROTECTOR_STRONG")),
    Fault("stack_end", _sees(_K.PANIC, "SCHED_STACK_END_CHECK")),
    Fault("stack_overflow", (Report(_K.OOPS, ("VMAP_STACK",), Outcome.PANIC),)),
    # context.c
    Fault("atomic_sleep", _sees(_K.ATOMIC_SLEEP, "DEBUG_ATOMIC_SLEEP")),
    Fault("atomic_sleep", _sees(_K.ATOMIC_SLEEP, "DEBUG_ATOMIC_SLEEP"), when="init"),
    Fault("atomic_schedule", _sees(_K.ATOMIC_SLEEP, "PREEMPT_COUNT")),
    Fault("preempt_leak", _sees(_K.INIT_IMBALANCE, "PREEMPT_COUNT"), when="init_end"),
    Fault("irq_leak", _sees(_K.INIT_IMBALANCE), when="init_end"),
    # locks.c
    Fault("recursive_lock", _LOCKDEP),
    Fault("lock_order", _LOCKDEP),
    Fault("lock_order", _LOCKDEP, when="init"),
    Fault("lock_in_irq", _LOCKDEP),
    Fault("held_lock", _LOCKDEP),
    Fault("bad_unlock", _LOCKDEP),
    Fault("freed_lock", _LOCKDEP),
    Fault("unset_lock", _LOCKDEP),
    Fault("rcu_misuse", _sees(_K.LOCKDEP, "PROVE_RCU")),
    Fault("data_race", _sees(_K.KCSAN, "KCSAN"), cpus=2),
    # stalls.c
    Fault(
        "hang",
        (Report(_K.SOFT_LOCKUP, ("SOFTLOCKUP_DETECTOR",), kind_too=_K.RCU_STALL),),
        timeout=10,
        impatient=True,
    ),
    Fault("hang", (Report(None),), when="init", timeout=10),
    Fault("irq_hang", (Report(None),), timeout=10, impatient=True),
    Fault("block", _sees(_K.HUNG_TASK, "DETECT_HUNG_TASK"), timeout=10, impatient=True),
    Fault("rcu_stall", _sees(_K.RCU_STALL), timeout=10, impatient=True, cpus=2),
    Fault("workqueue_lockup", _sees(_K.WORKQUEUE_LOCKUP, "WQ_WATCHDOG"), late=8, impatient=True),
    # leftovers.c
    Fault("forgotten_timer", (Report(_K.OOPS, outcome=Outcome.PANIC),), when="exit", settle=3),
    # undefined.c
    Fault("shift", _sees(_UBSAN, "UBSAN_SHIFT")),
    Fault("array_index", _sees(_UBSAN, "UBSAN_BOUNDS")),
    Fault("bad_bool", _sees(_UBSAN, "UBSAN_BOOL")),
)

#: Faults that are no misbehaviour of the kernel's: the load fails, or something is left behind.
NO_SPLAT = ("init_error", "leak_device", "kthread")
