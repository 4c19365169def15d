"""The kernel's own counts of its troubles, held against the reports that its log gave of them.

The log may lack a report: printk dropped it, a console was switched off, or another's text stood before it.
What the kernel counts does not depend on any console.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kmod_harness.klog.kinds import HANG_KINDS
from kmod_harness.klog.kinds import SplatKind as K

if TYPE_CHECKING:
    from kmod_harness.klog.splats import Splat

_KILLS = frozenset((K.OOPS, K.BUG))
#: Kinds whose reports the kernel counts in warn_count: check_panic_on_warn, kernel/panic.c, 6.2 and 6.1.8.
_COUNTED_AS_WARNINGS = frozenset(
    (K.WARNING, K.INIT_IMBALANCE, K.ATOMIC_SLEEP, K.KASAN, K.KCSAN, K.KFENCE, K.UBSAN)
)
#: `[#3]` of an oops is its number since the boot (__die_header, arch/x86/kernel/dumpstack.c).
_NUMBER_OF_OOPS = re.compile(r"\[#(\d{1,6})\]")


@dataclass(frozen=True)
class TaintFlag:
    """A flag of /proc/sys/kernel/tainted that is set with a report
    (Documentation/admin-guide/tainted-kernels.rst).

    verb: what the kernel says it did. kinds: the reports that set the flag.
    """

    bit: int
    letter: str
    verb: str
    kinds: frozenset[K]


TAINT_FLAGS = (
    # TAINT_MACHINE_CHECK: mce's lines are reports of no other kind
    TaintFlag(4, "M", "met a machine check", frozenset((K.OOPS, K.PANIC, K.OTHER))),
    # TAINT_BAD_PAGE: mm/page_alloc.c, mm/slub.c, mm/kasan, mm/kfence
    TaintFlag(
        5, "B", "found a bad page or object",
        frozenset((K.BAD_PAGE, K.SLAB_CORRUPTION, K.KASAN, K.KFENCE, K.KMSAN)),
    ),
    # TAINT_DIE: oops_end, die; KASAN names the cause of an oops in a line of its own
    TaintFlag(7, "D", "oopsed", _KILLS | {K.PANIC}),
    # TAINT_WARN: __warn, kernel/panic.c; kernel/sched/core.c
    TaintFlag(9, "W", "warned", frozenset((K.WARNING, K.INIT_IMBALANCE, K.ATOMIC_SLEEP))),
    # TAINT_SOFTLOCKUP: kernel/watchdog.c
    TaintFlag(14, "L", "found a soft lockup", HANG_KINDS),
)  # fmt: skip


@dataclass(frozen=True)
class KernelCounters:
    """What the kernel has counted since its boot; None where it does not tell.

    tainted: the flags of /proc/sys/kernel/tainted.
    warnings, oopses: /sys/kernel/warn_count and oops_count.
    logged: how many records its log had taken.
    """

    tainted: int | None = None
    warnings: int | None = None
    oopses: int | None = None
    logged: int | None = None

    @property
    def has_trouble(self) -> bool:
        """Whether anything is counted that must have been reported."""
        flags = sum(1 << flag.bit for flag in TAINT_FLAGS)
        return bool((self.tainted or 0) & flags or self.warnings or self.oopses)

    def __str__(self) -> str:
        """Each counter that is known, one a line, by the name of its file."""
        counted = (("tainted", self.tainted), ("warn_count", self.warnings), ("oops_count", self.oopses))
        return "\n".join(f"{name}: {number}" for name, number in counted if number is not None)


def number_in(content: bytes) -> int | None:
    """Return the decimal number that a file of proc or sysfs holds, None where it holds none."""
    text = content.strip()
    return int(text) if text.isdigit() and len(text) <= 20 else None


def unreported(counters: KernelCounters, splats: Sequence[Splat]) -> tuple[str, ...]:
    """Return what the kernel counted since its boot and none of these reports, all since its boot, tells.

    Each is a clause about the kernel: "warned (taint flag W)", "warned 3 times, of which 2 are in its log".
    """
    kinds = {splat.kind for splat in splats}
    # a flag whose count is 0 was set by a module's own add_taint()
    never = {letter for letter, count in (("W", counters.warnings), ("D", counters.oopses)) if count == 0}
    flags = [
        flag
        for flag in TAINT_FLAGS
        if (counters.tainted or 0) >> flag.bit & 1 and not flag.kinds & kinds and flag.letter not in never
    ]
    letters = {flag.letter for flag in flags}
    found = [f"{flag.verb} (taint flag {flag.letter})" for flag in flags]
    if "W" not in letters:
        found += _uncounted("warned", counters.warnings, _told_warnings(splats))
    if "D" not in letters:
        found += _uncounted("oopsed", counters.oopses, _told_oopses(splats))
    return tuple(found)


def _uncounted(verb: str, counted: int | None, told: int) -> list[str]:
    if counted is None or counted <= told:
        return []
    times = "once" if counted == 1 else f"{counted} times"
    return [f"{verb} {times}, of which {told or 'none'} {'is' if told in (0, 1) else 'are'} in its log"]


def _told_warnings(splats: Collection[Splat]) -> int:
    return sum(splat.kind in _COUNTED_AS_WARNINGS for splat in splats)


def _told_oopses(splats: Collection[Splat]) -> int:
    dead = [splat for splat in splats if splat.kind in _KILLS]
    numbers = [int(number) for splat in dead for number in _NUMBER_OF_OOPS.findall(splat.text)]
    # two that came at once may be read as one: the second one's number counts both
    return max([len(dead), *numbers])
