"""Stacks that the kernel dumped of its own accord, and that no report of a known kind owns.

Some two hundred places of the kernel say in their own words what is wrong and call dump_stack(); nothing but
the stack tells that it is a report.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from kmod_harness.klog.frames import Frame, frames_of, plain
from kmod_harness.klog.guilty.dispatchers import dispatches
from kmod_harness.klog.headers import Header, stable
from kmod_harness.klog.kinds import SplatKind
from kmod_harness.klog.report_extents import ReportExtent

_TRACE = re.compile(r"Call [Tt]race:")
#: dump_stack_print_info, lib/dump_stack.c: the first lines of each dumped stack.
INTRODUCED = re.compile(r"CPU: \d{1,5} (?:UID: \d{1,10} )?PID: \d{1,8} Comm: ")
PREAMBLE = re.compile(r"\s*$|Tainted: |Hardware name: |Workqueue: |Stopper: |Call [Tt]race:")
_PREAMBLE_LINES = 6
#: Lines of a stack at most, and lines of a message above it that another CPU's may stand between.
_STACK_LINES = 80
_DUMPS = re.compile(r"_{0,2}(?:dump_stack\w*|show_stack\w*|dump_backtrace\w*)")
#: Whoever asked for the stack: a person by sysrq, a test by fault injection.
_ASKED = re.compile(
    r"\w*sysrq\w*|fail_dump|should_fail\w*|nmi_cpu_backtrace\w*|sched_show_task|show_state_filter"
)


def unowned_stacks(texts: Sequence[str], owned: Iterable[ReportExtent]) -> list[ReportExtent]:
    """Return an extent for each stack that the kernel dumped outside these reports, in order.

    Its header's label is the line above the stack. A stack that a module dumped is its author's choice.
    """
    taken = {index for extent in owned for index in range(extent.first, extent.last + 1)}
    found = []
    for index, text in enumerate(texts):
        if index not in taken and _TRACE.match(text[:40]):
            extent = _extent(texts, index, taken)
            if extent is not None:
                found.append(extent)
    return found


def _extent(texts: Sequence[str], trace: int, taken: set[int]) -> ReportExtent | None:
    top = next(
        (
            at
            for at in range(trace - 1, max(-1, trace - 1 - _PREAMBLE_LINES), -1)
            if INTRODUCED.match(texts[at])
        ),
        None,
    )
    if top is None or not all(PREAMBLE.match(texts[at]) for at in range(top + 1, trace)):
        return None
    last = _last_line(texts, trace)
    stack = tuple(frames_of(texts[trace + 1 : last + 1]))
    if not _is_the_kernels(stack):
        return None
    above = next(
        (at for at in range(top - 1, max(-1, top - 4), -1) if texts[at].strip() and at not in taken), top
    )
    label = stable(texts[above][:160]).strip(" .!:") if above != top else "a stack that the kernel dumped"
    return ReportExtent(Header(_kind(stack), label, is_unnamed=True), above, above, last)


def _kind(stack: Sequence[Frame]) -> SplatKind:
    """Return OUT_OF_MEMORY for an allocation that failed (mm/page_alloc.c), or that called the OOM killer."""
    failed = any(plain(frame.function) in ("warn_alloc", "dump_header") for frame in stack)
    return SplatKind.OUT_OF_MEMORY if failed else SplatKind.OTHER


def _last_line(texts: Sequence[str], trace: int) -> int:
    """Return the last line of the stack: the last of those that are indented, as frames are."""
    last = trace
    for at in range(trace + 1, min(len(texts), trace + _STACK_LINES)):
        if not texts[at].startswith((" ", "[<")):
            break
        last = at
    return last


def _is_the_kernels(frames: Sequence[Frame]) -> bool:
    """Return whether the kernel itself called for this stack, of its own accord."""
    real = [frame for frame in frames if not frame.guess]
    behind = next((at for at, frame in enumerate(real) if not _DUMPS.fullmatch(plain(frame.function))), None)
    if not behind:  # no stack at all, or one that dump_stack() did not print
        return False
    caller = real[behind]
    if caller.module or any(_ASKED.fullmatch(plain(frame.function)) for frame in real):
        return False
    # whatever calls through a pointer dumps nothing: a module's function ended with dump_stack(), by a jump
    return not dispatches(plain(caller.function))
