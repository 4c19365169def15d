"""Which function a report is about: the innermost one that did something of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise, zip_longest

from kmod_harness.klog.frames import Frame, plain
from kmod_harness.klog.guilty.dispatchers import dispatches
from kmod_harness.klog.guilty.machinery import (
    is_a_part_of,
    is_always_machinery,
    is_exported_machinery,
    is_machinery,
)
from kmod_harness.klog.kinds import HANG_KINDS, SplatKind

#: Kinds told by the operation that does not end, wherever in it the CPU was seen.
_STALLS = (SplatKind.RCU_STALL, SplatKind.SOFT_LOCKUP, SplatKind.HARD_LOCKUP)
#: The processor itself stopped there: what stands above its position on the stack is the trap's.
_TRAPS = (SplatKind.OOPS, SplatKind.BUG, SplatKind.WARNING)
#: A leak's trace begins with the allocator's layers, each of which says so in its name.
_ALLOCATES = re.compile(r"alloc|kmemdup|new_inode")
#: The tick that looks for stalls, and the entry of its interrupt (arch/x86/entry, arch/arm64/kernel/entry.S).
_TICK = re.compile(r"update_process_times|tick_sched|(?:__)?hrtimer_interrupt")
_INTERRUPT = re.compile(
    r"(?:asm_|__)?(?:smp_\w*apic\w*interrupt|apic_timer_interrupt|sysvec_apic_timer|asm_call_|el1h?_\w*irq|"
    r"do_softirq_own)"
)
#: Where an interrupt came in: what is below it was interrupted (arch/x86/kernel/irq.c, apic.c; arm's).
_ENTERED = re.compile(
    r"(?:asm_)?sysvec_\w+|(?:asm_)?common_interrupt|(?:smp_)?(?:trace_)?\w*apic\w*_interrupt|do_IRQ|ret_from_intr|"
    r"reschedule_interrupt|call_function\w*_interrupt|irq_work_interrupt|smp_\w*_interrupt|el1h?_\w*irq\w*|"
    r"__irq_svc|handle_IPI|__do_softirq|handle_softirqs|do_handle_IPI|asm_exc_nmi|end_repeat_nmi|nmi"
)
#: kernel/smp.c: the CPU waits for another one's answer, so that its own stack tells little.
_ASKS_OTHERS = re.compile(r"smp_call_function|csd_lock_wait")
#: The kind that all machinery serves, for stacks that are searched for an operation.
_ANY = SplatKind.PANIC


def guilty_function(
    kind: SplatKind, named: str, stack: Sequence[Frame], position: int | None, *, by_operation: bool = False
) -> str:
    """Return the function that a report is about, "" when nothing tells.

    named: the function that the header names.
    stack: the call trace with the place where the CPU was (RIP) in it, as the lines come.
    position: where in the stack that is, None where no line tells.
    by_operation: the report is about the operation under way: a stack that overflowed is not the fault of the
        last call.

    A stall is about the operation under way as well. Any other report is about the first function of header
    and stack that is no machinery; for a hang the stack alone counts, since its header names the task.
    """
    if position and kind in _TRAPS and not _ENTERED.fullmatch(plain(stack[position - 1].function)):
        stack = stack[position:]
    real = [frame for frame in stack if not frame.guess] or list(stack)
    if kind in _STALLS or by_operation:
        running = _interrupted(real)
        waiting = next((frame.function for frame in running[:3] if _ASKS_OTHERS.match(frame.function)), "")
        operation = waiting or _operation(running)
        if operation:
            return plain(operation)
        real = list(running)
    if kind is SplatKind.KMEMLEAK:
        real = [frame for frame in real if not _ALLOCATES.search(frame.function)]
    first = [] if kind in HANG_KINDS or not named else [_frame_of(named, real)]
    contexts = _contexts([*first, *real])
    found = next(filter(None, (_in_context(kind, context) for context in contexts)), "")
    at = stack[0].function if stack and position == 0 else ""
    return plain(found or named or at)


def _frame_of(named: str, stack: Sequence[Frame]) -> Frame:
    """Return the frame of the function that the header names, which tells its module."""
    return next((frame for frame in stack if plain(frame.function) == plain(named)), Frame(named))


def _works_for_others(frame: Frame, kind: SplatKind) -> bool:
    """Return whether the frame is machinery; a module's function is none, unless many subsystems call it."""
    name = plain(frame.function)
    if frame.module:
        return is_exported_machinery(name) and is_machinery(name, kind)
    return is_machinery(name, kind)


def _in_context(kind: SplatKind, stack: Sequence[Frame]) -> str:
    """Return the first function that is no machinery; where all are, the first that ran of its own accord."""
    for frame, caller in zip_longest(stack, stack[1:]):
        is_part = (
            caller is not None
            and not frame.module
            and is_a_part_of(plain(frame.function), plain(caller.function))
        )
        if not is_part and not _works_for_others(frame, kind):
            return frame.function
    names = [plain(frame.function) for frame in stack]
    called = [name for name, caller in pairwise(names) if dispatches(caller) and not dispatches(name)]
    return next((name for name in (*called, *names) if not is_always_machinery(name)), "")


def _contexts(stack: Sequence[Frame]) -> Iterator[Sequence[Frame]]:
    """Yield the parts of a stack: what an interrupt ran, then what it interrupted."""
    start = 0
    for index, frame in enumerate(stack):
        if _ENTERED.fullmatch(plain(frame.function)):
            yield stack[start:index]
            start = index + 1
    yield stack[start:]


def _interrupted(stack: Sequence[Frame]) -> Sequence[Frame]:
    """Return the stack of what ran when the timer's tick found the CPU stalled."""
    names = [frame.function for frame in stack]
    tick = next((i for i, name in enumerate(names) if _TICK.match(name)), None)
    if tick is None or not all(_works_for_others(frame, _ANY) for frame in stack[:tick]):
        return stack
    entries = [i for i, name in enumerate(names) if i > tick and _INTERRUPT.match(name)]
    # two frames of one entry, asm_sysvec_... above sysvec_...
    last = next((i for i in entries if i + 1 not in entries), tick)
    return stack[last + 1 :]


def _operation(stack: Sequence[Frame]) -> str:
    """Return the innermost function that a dispatcher called, "" without one."""
    return next(
        (
            frame.function
            for frame, caller in pairwise(stack)
            if dispatches(plain(caller.function))
            and not dispatches(plain(frame.function))
            and not _works_for_others(frame, _ANY)
        ),
        "",
    )
