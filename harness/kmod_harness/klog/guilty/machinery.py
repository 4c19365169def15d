"""Functions that a report is not about: they report, check, wait, allocate or tear down for others.

What a function is follows from where the kernel defines it, from how many of its subsystems call it, and from
the report's kind; of a function that is in no list, from the words of its name.
"""

from __future__ import annotations

import re
from functools import cache

from kmod_harness.klog.guilty import groups
from kmod_harness.klog.guilty.places import Place, place_of
from kmod_harness.klog.guilty.words import likelihood
from kmod_harness.klog.kinds import HANG_KINDS, SplatKind

#: Interfaces that compilers call, whatever the release: sanitizers, stack protector, retpolines, Rust;
#: and the exception entries of arm and arm64, whose sources are not at hand (arch/arm64/kernel/entry.S).
_COMPILERS = re.compile(
    r"_{1,2}(?:kasan|asan|hwasan|msan|tsan|ubsan|sanitizer|cyg_profile)_\w+|__stack_chk_fail|__x86_indirect_\w+|"
    r"__fentry__|mcount\w*|check_memory_region\w*|"
    r"rust_helper_\w+|rust_begin_unwind|_R\w*(?:4core|7___rustc)\w*|core::\S*|<core::\S*|"
    r"el[01]t?h?_\w+|__do_kernel_fault|__(?:dabt|pabt|und|irq)_\w+|ret_fast_syscall|ret_to_user|"
    r"do_(?:mem_abort|tag_check_fault|tag_recovery|translation_fault|kernel_fault|bad_area|sea|sp_pc_abort|"
    r"DataAbort|PrefetchAbort|undefinstr)"
)
#: They print, walk stacks and check contexts, in any release and architecture.
_CHECKS = re.compile(
    r"_{0,2}v?printk\w*|_?dev_(?:info|notice|warn|err|alert|crit|emerg)|\w*walk_stack\w*|dump_backtrace|"
    r"show_stack\w*|_{0,3}might_\w+|irqentry_\w+|(?:_{0,2}|io_|preempt_)schedule(?:_(?:bug|debug|timeout|preempt|common|irq)\w*)?"
)
_ASSERTS = re.compile(r"\w*_panic|assert\w*|\w*assfail|\w*_bug")
_SYSTEM_CALL = re.compile(r"_{0,3}(?:x64|ia32|se|do|arm64)?_?(?:compat_)?(?:k?sys|SyS|SYSC)_")
_LOCKS = re.compile(r"(?:\w+_)?(?:un)?lock(?:_\w+)?|release_sock")
#: The end of what a caller made: a fault there is in what the caller hands over.
_TEARDOWN = re.compile(
    r"unregister|_del(?:_|$)|^del_|remove|release|kill|destroy|^put_|_put$|cancel|stop|free|drop_|iput|dput"
)
#: Reports about a lock or a context: who takes the lock is the culprit.
_ABOUT_LOCKS = (*HANG_KINDS, SplatKind.LOCKDEP, SplatKind.ATOMIC_SLEEP)
#: Levels (binary logarithm of the number of subsystems that call it) of what serves everybody, of what
#: is an interface, and of a core's own parts.
_EVERYBODY, _WIDELY, _INTERFACE, _OWN_PARTS = 6, 5, 3, 2
#: Of the functions of 6.1 that 7.2 has no more, 85 % of the machinery sounds likelier than that, and 8 % of
#: all others.
_LIKELY = 0.5
_VERY_LIKELY = 3.0


@cache
def is_machinery(function: str, kind: SplatKind) -> bool:
    """Return whether in a report of this kind the function only did its work for another."""
    if _SYSTEM_CALL.match(function):
        return False
    if _COMPILERS.fullmatch(function) or _CHECKS.fullmatch(function):
        return True
    if kind is SplatKind.BUG and _ASSERTS.fullmatch(function):
        return True
    if kind not in _ABOUT_LOCKS and _LOCKS.fullmatch(function):
        return True
    # a grace period that does not end is what a task hangs on
    if kind in HANG_KINDS and function.startswith("synchronize_"):
        return False
    place = place_of(function)
    if place is None:
        return _sounds(function, kind) or _wraps(function, kind)
    return _serves(place, function, kind) or (place.level <= _INTERFACE and _wraps(function, kind))


@cache
def is_always_machinery(function: str) -> bool:
    """Return whether the function reports, checks or locks for others, whatever the report's kind."""
    if _COMPILERS.fullmatch(function) or _CHECKS.fullmatch(function):
        return True
    place = place_of(function)
    return place is not None and bool(groups.REPORTS.match(place.path))


def locks_for_others(function: str) -> bool:
    """Return whether a lock that the function takes stands for something of its caller's."""
    place = place_of(function)
    return is_always_machinery(function) or (place is not None and bool(groups.WORK.match(place.path)))


@cache
def is_a_part_of(function: str, caller: str) -> bool:
    """Return whether a function that no list has must be a part of its caller, which calls nothing else."""
    place = place_of(caller)
    return place is not None and bool(groups.LEAVES.match(place.path)) and place_of(function) is None


def is_exported_machinery(function: str) -> bool:
    """Return whether a function of one of the kernel's own modules is an interface that many call."""
    place = place_of(function, exact=True)
    return place is not None and place.level >= _INTERFACE


def _sounds(function: str, kind: SplatKind) -> bool:
    if kind in HANG_KINDS and "wait" in function:
        return True
    return likelihood(function) > (_VERY_LIKELY if kind in _ABOUT_LOCKS else _LIKELY)


def _wraps(function: str, kind: SplatKind) -> bool:
    """Return whether the name ends with that of a service which it wraps: bpf_prog_array_copy_to_user."""
    words = function.lstrip("_").split("_")
    inner = (place_of("_".join(words[first:])) for first in range(1, len(words) - 1))
    return any(
        place is not None and place.level >= _WIDELY and _is_wrapped(place.path, kind) for place in inner
    )


def _is_wrapped(path: str, kind: SplatKind) -> bool:
    if groups.REPORTS.match(path) and "lock" not in path:
        return True
    served = groups.REPORTS.match(path) or groups.LIBRARY.match(path) or groups.MEMORY.match(path)
    return bool(served) and kind not in _ABOUT_LOCKS


def _serves(place: Place, function: str, kind: SplatKind) -> bool:
    """Return whether what is defined there serves others in a report of this kind."""
    if groups.REPORTS.match(place.path):
        return True
    if kind in HANG_KINDS:
        return _waits(place, function)
    if kind is SplatKind.LOCKDEP:
        return _locks_for_others(place, function)
    if kind is SplatKind.KCSAN:
        return bool(groups.LIBRARY.match(place.path))
    if kind is SplatKind.BUG and groups.PAGES.match(place.path):
        return place.level >= _OWN_PARTS
    if kind is SplatKind.BUG and groups.BUFFERS.match(place.path):
        return True
    if kind is SplatKind.BAD_PAGE and (place.path.startswith("mm/") or groups.BUFFERS.match(place.path)):
        return True
    return _is_a_core(place, function, kind)


def _waits(place: Place, function: str) -> bool:
    if groups.CACHES.match(place.path):
        return place.level < _INTERFACE or "lock" in function or "wait" in function
    if groups.PRINTK.match(place.path):
        return "lock" in function
    return any(group.match(place.path) for group in (groups.WAITS, groups.MEMORY, groups.LIBRARY))


def _locks_for_others(place: Place, function: str) -> bool:
    if groups.SCHEDULER.match(place.path):
        return place.level >= _INTERFACE
    if groups.PRINTK.match(place.path):
        return place.level < _INTERFACE
    return bool(groups.MEMORY.match(place.path) or groups.WORK.match(place.path))


def _is_a_core(place: Place, function: str, kind: SplatKind) -> bool:
    path, level = place.path, place.level
    if groups.SCHEDULER.match(path) and kind is not SplatKind.PANIC:
        # what the scheduler and the timers do of their own accord is theirs
        return (
            level >= _INTERFACE
            or function.startswith("_")
            or "schedule" in function
            or "static_object" in function
        )
    if groups.PRINTK.match(path):
        return kind is not SplatKind.ATOMIC_SLEEP
    if any(group.match(path) for group in (groups.LIBRARY, groups.WAITS, groups.MEMORY, groups.DEVICES)):
        return True
    # a socket's and a buffer's end is the protocol's own work
    tears_down = bool(_TEARDOWN.search(function)) and (
        "unregister" in function or not path.startswith("net/")
    )
    if groups.CACHES.match(path):
        return level > _INTERFACE or tears_down or "truncate" in function
    return level >= (_INTERFACE if tears_down and kind is not SplatKind.BUG else _EVERYBODY)
