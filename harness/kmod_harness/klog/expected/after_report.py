"""What a kernel no longer looks for, once a detector of it has reported."""

from __future__ import annotations

from collections.abc import Iterable

from kmod_harness.klog.kinds import SplatKind

#: kernel/locking/lockdep.c (debug_locks_off) and mm/kasan/report.c (report_enabled), 6.1 to 7.2.
_ONCE = {
    SplatKind.LOCKDEP: "lockdep switched itself off at its report: no other fault of a lock was looked for",
    SplatKind.KASAN: "KASAN tells the first fault alone: another one of memory was not looked for"
    " (--append kasan_multi_shot has it tell all)",
}


def not_looked_for(kinds: Iterable[SplatKind]) -> list[str]:
    """Returns a sentence for each detector that reports once, of these reports."""
    return [told for kind, told in _ONCE.items() if kind in set(kinds)]
