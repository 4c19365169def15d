"""Which part of a lockdep report tells whose fault it is (kernel/locking/lockdep.c, 6.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kmod_harness.klog.guilty.machinery import locks_for_others

#: `at: [<ffffffff81938722>] fuse_lock_inode+0xa2/0xd0`, in symbolised logs `at: f file:line [inline]`.
_AT = re.compile(
    r"(?:\bat: |^)(?:\[<[0-9a-f]{1,16}>\] )?(?P<function>[\w.$]{1,128})(?:\+0x| [\w./-]{1,200}:\d)"
)
#: What follows names the lock that makes the report; all other locks in it are bystanders.
_WANTED = re.compile(
    r"is trying to (?:acquire|release|lock)\b|is (?:freeing memory|exiting with|leaving the kernel)"
)
#: print_bad_irq_dependency, print_irq_inversion_bug: the stacks come in the order of the story
_IRQ_ORDER = re.compile(r"lock order detected|irq lock inversion")
#: process_one_work, kernel/workqueue.c
_LAST_FUNCTION = re.compile(r"last function: (?P<function>[\w.$]{1,128})")
#: kernel/printk/printk.c: the console's owner and its semaphore; serial_core: the port it writes to
_CONSOLE = re.compile(r"\((?:console_owner|console_lock|\(?console_sem\)?\S*|port_lock_key|&port_lock_key)\)")
_HELD = re.compile(r"held|leaked")
_BACKTRACE = re.compile(r"stack backtrace:|Call [Tt]race:")
#: Lines from the announcement on with the lock wanted and the one held meanwhile.
_NEAR = 7


def lock_user(label: str, lines: Sequence[str]) -> str:
    """Return the function that takes, releases or holds the lock reported, "" where no line says.

    label: the report's, as `still has locks held`.
    lines: the lines below the header.
    """
    if _IRQ_ORDER.search(label):
        return ""
    for index, line in enumerate(lines):
        last = _LAST_FUNCTION.search(line[:200])
        if last:
            return last["function"]
        if _WANTED.search(line[:200]):
            found = _first_at(lines[index : index + 1 + _NEAR])
            if found:
                return found
    return _first_at(lines) if _HELD.search(label) else ""


def present_stack(label: str, lines: Sequence[str]) -> Sequence[str]:
    """Return the lines from the stack of the report's own moment on; stacks above it are of earlier moments.

    Where an interrupt took locks in the wrong order, these are all lines: the first stack is the interrupt's.
    """
    if _IRQ_ORDER.search(label):
        return lines
    marks = [index for index, line in enumerate(lines) if _BACKTRACE.search(line[:200])]
    return lines[marks[-1] :] if marks else lines


def is_about_printing(lines: Sequence[str]) -> bool:
    """Return whether the lock wanted is the console's: something was printed while another lock was held.

    What was printed, mostly a report, is then the cause. An example: slab corruption is found under a cache's
    list_lock (slab_bug, mm/slub.c, 6.1), while ttyS0's receiver allocates under its own lock.
    """
    for index, line in enumerate(lines):
        if _WANTED.search(line[:200]):
            return any(_CONSOLE.search(near[:200]) for near in lines[index : index + 3])
    return False


def _first_at(lines: Sequence[str]) -> str:
    matches = (_AT.search(line[:400]) for line in lines)
    return next((m["function"] for m in matches if m and not locks_for_others(m["function"])), "")
