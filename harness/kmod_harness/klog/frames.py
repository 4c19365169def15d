"""Stack frames in a report, and which function a report is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from kmod_harness.klog.carriers import dispatches, is_carrier
from kmod_harness.klog.header_table import SYMBOL
from kmod_harness.klog.kinds import HANG_KINDS, SplatKind

#: A line of a call trace: printk_stack_address, arch/x86/kernel/dumpstack.c, 6.1; before 4.10 with
#: `[<address>]`; `?` marks a leftover on the stack. Symbolised logs add file:line and `[inline]`.
_FRAME = re.compile(
    r"\s{0,16}(?:\[<?[0-9a-f]{1,16}>?\]\s?)?(?:<\w{1,8}>\s{1,4})?(?:\[<?[0-9a-f]{1,16}>?\]\s?)?"
    rf"(?P<guess>\? )?{SYMBOL}(?: \[(?P<module>\w{{1,64}})[^\]]{{0,60}}\])?"
    r"(?P<unreliable> \(unreliable\))?"
)
_INLINE = re.compile(r"\s{0,16}(?P<function>[\w.$]{1,128}) [\w./-]{1,200}:\d{1,7} \[inline\]")
#: arm's unwinder: ` f from g+0x10/0x20`, before 5.20 `[<80de>] (f) from [<80df>] (g+0x10/0x20)`.
_FROM = re.compile(
    r"\s{0,16}(?:\[<[0-9a-f]{1,16}>\] )?\(?[\w.$]{1,128}\)? from "
    rf"(?:\[<[0-9a-f]{{1,16}}>\] \()?{SYMBOL}"
)
#: RIP (x86-64), EIP, IP (before 4.10), pc (arm64), PC is at (arm): where the CPU was.
_POSITION = re.compile(
    r"(?:(?P<user>RIP: 00(?:33|23):)|(?:\b[RE]?IP: (?:[0-9a-f]{4}:)?|\bpc : |\bPC is at )"
    rf"(?:\s{{0,3}}\[<[0-9a-f]{{1,16}}>\]){{0,2}}\s{{0,4}}{SYMBOL}"
    r"(?: \[(?P<module>\w{1,64})[^\]]{0,60}\])?)"
)

#: A leak's trace begins with the allocator's layers, each of which says so in its name.
_ALLOCATES = re.compile(r"alloc|kmemdup|new_inode")
#: Kinds told by the operation that does not end, wherever in it the CPU was seen.
_STALLS = (SplatKind.RCU_STALL, SplatKind.SOFT_LOCKUP, SplatKind.HARD_LOCKUP)
#: The tick that looks for stalls, and the entry of its interrupt (arch/x86/entry, arch/arm64/kernel/entry.S).
_TICK = re.compile(r"update_process_times|tick_sched|(?:__)?hrtimer_interrupt")
_INTERRUPT = re.compile(
    r"(?:asm_|__)?(?:smp_\w*apic\w*interrupt|apic_timer_interrupt|sysvec_apic_timer|asm_call_|el1h?_\w*irq|do_softirq_own)"
)
#: kernel/smp.c: the CPU waits for another one's answer, so that its own stack tells little.
_ASKS_OTHERS = re.compile(r"smp_call_function|csd_lock_wait")

_RETURNS_TO = re.compile(rf"(?:\bLR is at |\blr : ){SYMBOL}(?: \[(?P<module>\w{{1,64}})[^\]]{{0,60}}\])?")


@dataclass(frozen=True)
class Frame:
    """A function on a stack.

    module: "" for the kernel itself.
    guess: whether the kernel marks it by `?`: a leftover on the stack.
    offset: bytes from the function's start to the return address, or to the instruction that the CPU was at;
        None for an inlined function.
    size: the function's, in bytes; None for an inlined function.
    """

    function: str
    module: str = ""
    guess: bool = False
    offset: int | None = None
    size: int | None = None


def frames_of(lines: Iterable[str]) -> Iterator[Frame]:
    """Yield the call trace's frames in order, without the positions (RIP) between them."""
    for line in lines:
        line = line[:512]
        match = _FRAME.match(line)
        if match:
            yield _frame(match, guess=bool(match["guess"] or match["unreliable"]))
        elif match := _FROM.match(line):
            yield _frame(match)
        elif match := _INLINE.match(line):
            yield Frame(match["function"])


def _frame(match: re.Match[str], *, guess: bool = False) -> Frame:
    groups = match.groupdict()
    return Frame(
        groups["function"],
        groups.get("module") or "",
        guess,
        int(groups["offset"], 16),
        int(groups["size"], 16),
    )


def position_of(lines: Iterable[str]) -> Frame | None:
    """Return where the CPU was, by the first kernel-mode RIP; None where no line tells.

    After a jump to nowhere this is who jumped, where the CPU knows it (arm's LR).
    """
    returns_to = None
    for line in lines:
        match = _POSITION.search(line[:512])
        if match and match["function"]:
            return _frame(match)
        match = _RETURNS_TO.search(line[:512])
        if match and returns_to is None:
            returns_to = _frame(match)
    return returns_to


def guilty_function(
    kind: SplatKind, named: str, position: str, frames: Sequence[Frame], *, by_operation: bool = False
) -> str:
    """Return the function that a report is about, "" when nothing tells.

    named: the function that the header names.
    position: the function that the CPU was in.
    by_operation: the report is about the operation under way: a stack that overflowed is not the fault of the
        last call.

    A stall is about the operation under way as well. Any other report is about the first function of header,
    position and call trace that is no carrier; for a hang the call trace alone counts, since its header names
    the task.
    """
    stack = [frame.function for frame in frames if not frame.guess] or [f.function for f in frames]
    if kind in _STALLS or by_operation:
        stack = [position, *_interrupted(stack)]
        waiting = next((name for name in stack[:3] if _ASKS_OTHERS.match(name)), "")
        operation = waiting or _operation(stack)
        if operation:
            return plain(operation)
    if kind is SplatKind.KMEMLEAK:
        stack = [name for name in stack if not _ALLOCATES.search(name)]
    first = () if kind in HANG_KINDS else (named, position)
    found = next((name for name in (*first, *stack) if name and not is_carrier(plain(name))), "")
    return plain(found or named or position)


def _interrupted(stack: Sequence[str]) -> Sequence[str]:
    """Return the stack of what ran when the timer's tick found the CPU stalled."""
    tick = next((i for i, name in enumerate(stack) if _TICK.match(name)), None)
    if tick is None or not all(is_carrier(plain(name)) for name in stack[:tick]):
        return stack
    entries = [i for i, name in enumerate(stack) if i > tick and _INTERRUPT.match(name)]
    # two frames of one entry, asm_sysvec_... above sysvec_...
    last = next((i for i in entries if i + 1 not in entries), tick)
    return stack[last + 1 :]


def _operation(stack: Sequence[str]) -> str:
    """Return the innermost function that a dispatcher called, "" without one."""
    return next(
        (
            name
            for name, caller in pairwise(stack)
            if dispatches(plain(caller)) and not dispatches(plain(name)) and not is_carrier(plain(name))
        ),
        "",
    )


def plain(function: str) -> str:
    """Return the name without the suffixes that gcc adds: `.isra.0`, `.constprop.3`, `.part.1`, `.cold`."""
    return re.sub(r"\.(?:isra|constprop|part|cold|llvm)\b.*$", "", function)
