"""Stack frames in a report."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kmod_harness.klog.header_table import SYMBOL

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


def stack_of(lines: Iterable[str]) -> tuple[list[Frame], int | None]:
    """Return the call trace with the kernel's positions (RIP) where they stand in it, and the index of the
    first one, None without one.
    """
    stack: list[Frame] = []
    first = None
    for line in lines:
        found = list(frames_of([line]))
        match = None if found else _POSITION.search(line[:512])
        if match and match["function"]:
            found = [_frame(match)]
            first = len(stack) if first is None else first
        stack += found
    return stack, first


def plain(function: str) -> str:
    """Return the name without the suffixes that gcc adds: `.isra.0`, `.constprop.3`, `.part.1`, `.cold`."""
    return re.sub(r"\.(?:isra|constprop|part|cold|llvm)\b.*$", "", function)
