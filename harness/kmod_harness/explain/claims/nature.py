"""The nature of a module: no process, no stack of its own, memory that is neither swapped nor copied."""

from __future__ import annotations

from collections.abc import Mapping

from kmod_harness.explain.claims.claim import Claim, Evidence, Verdict
from kmod_harness.explain.claims.phrases import (
    NO_STOP,
    count,
    executed_text,
    inside,
    lines,
    no_outside,
    outside,
    stop_text,
)
from kmod_harness.explain.observed.observations import Observations

#: Flags of a page that reclaim may take away from its owner (mm/vmscan.c works on LRU lists alone).
_RECLAIMABLE = frozenset({"LRU", "ANON", "SWAPBACKED", "MMAP"})


# --- part of the kernel, no process


def _new_tasks(seen: Observations) -> Mapping[int, str]:
    """Tasks that the load left behind; the kernel's own workers come and go at any time."""
    return {
        pid: comm
        for pid, comm in seen.loading.tasks_after.items()
        if pid not in seen.loading.tasks_before and not comm.startswith("kworker/")
    }


def _levels(seen: Observations) -> set[int]:
    opened = seen.opening.opened.blocks if seen.opening.opened else ()
    return {block.cpl for block in (*seen.loading.executed.blocks, *opened)}


def _part(seen: Observations) -> Verdict:
    if _levels(seen) - {0} or seen.loading.maps_naming_it:
        return Verdict.FALSE
    if not _levels(seen):
        return Verdict.UNDECIDED
    return Verdict.IMPRECISE if _new_tasks(seen) else Verdict.TRUE


def _explain_part(seen: Observations) -> str:
    if _part(seen) is Verdict.UNDECIDED:
        return "No code of the module was seen to run."
    tasks = _new_tasks(seen)
    threads = (
        f" This module has started a kernel thread of its own ({', '.join(tasks.values())}): a task, but one "
        "that lives in the kernel and has no program."
        if tasks
        else " The list of tasks is the same after the load as before."
    )
    return (
        "Its code becomes kernel code: it runs at privilege level 0, in whichever process happens to call it."
        + threads
    )


def _part_inside(seen: Observations) -> Evidence:
    loading = seen.loading
    said = loading.log.splitlines()
    tasks = _new_tasks(seen)
    new = ", ".join(f"{comm} ({pid})" for pid, comm in tasks.items()) or "none"
    return inside(
        f"Tasks that are there after the load and were not before: {new}; no /proc/PID/maps shows the "
        f"module; its init ran in process {loading.caller_pid}, which called finit_module.",
        f"{count(len(loading.tasks_before), 'task')} before, {len(loading.tasks_after)} after\n"
        + lines(said),
    )


def _part_outside(seen: Observations) -> Evidence:
    blocks = seen.loading.executed.blocks
    return outside(
        f"QEMU's execution log has {count(len(blocks), 'block')} of the module's code during a load, all at "
        f"privilege level {', '.join(map(str, sorted(_levels(seen)))) or '(none ran)'}.",
        executed_text(seen.loading.executed),
    )


PART = Claim(
    5,
    "part-of-the-kernel",
    "It becomes part of the kernel, and is not a process.",
    "So it is taught, and it is so.",
    "kernel/module/main.c:2478 the call of init, in the loading process",
    _part,
    _explain_part,
    _part_inside,
    _part_outside,
)


# --- the stack


def _stack_pointers(seen: Observations) -> tuple[int, ...]:
    stops = (seen.opening.stop, seen.loading.init_stop)
    found = [stop.rsp for stop in stops if stop is not None]
    return (*found, seen.opening.probed_stack_pointer) if seen.opening.probed_stack_pointer else tuple(found)


def _stack(seen: Observations) -> Verdict:
    pointers = _stack_pointers(seen)
    if not pointers:
        return Verdict.UNDECIDED
    if all(pointer in seen.space.user for pointer in pointers):
        return Verdict.TRUE
    return Verdict.IMPRECISE if any(pointer in seen.space.user for pointer in pointers) else Verdict.FALSE


def _explain_stack(seen: Observations) -> str:
    pointers = _stack_pointers(seen)
    if not pointers:
        return "This kernel has neither kprobes nor symbols for a debugger: the stack pointer was not seen."
    where = (
        "in the vmalloc range, with a guard page below"
        if pointers[0] in seen.space.vmalloc
        else "in the direct map"
    )
    stop = seen.opening.stop or seen.loading.init_stop
    size = f", {stop.task_stack.size >> 10} KiB" if stop is not None else ","
    return (
        f"Each task has a second stack for when it is in the kernel{size} {where}. The module's functions "
        "run on that of the task that called: not on the program's own, and a module has none. That is why "
        "large arrays do not belong on it."
    )


def _stack_inside(seen: Observations) -> Evidence:
    opening = seen.opening
    if not opening.probed_stack_pointer:
        reason = (
            "this kernel has no kprobes" if opening.function else "an open calls no function of this module"
        )
        return Evidence(
            "inside", impossible=f"{reason}, and nothing else shows the stack pointer from inside"
        )
    return inside(
        f"A kprobe on {opening.function} read the stack pointer {opening.probed_stack_pointer:#x}; the "
        "program's own stack, in its /proc/PID/maps, is in user space.",
        f"{opening.probe}\n{opening.user_stack}",
    )


def _stack_outside(seen: Observations) -> Evidence:
    stop = seen.opening.stop or seen.loading.init_stop
    if stop is None:
        return no_outside(NO_STOP)
    return outside(
        f"At the breakpoint on {stop.function} the stack pointer is {stop.rsp:#x}, within current->stack "
        f"({stop.task_stack.start:#x}-{stop.task_stack.end:#x}); the program's own was at "
        f"{stop.user_stack_pointer:#x}.",
        stop_text(stop),
    )


STACK = Claim(
    15,
    "callers-stack",
    "Its functions run on the stack of the program that called.",
    "A system call is a call, so it goes on where the caller was.",
    "kernel/fork.c alloc_thread_stack_node; arch/x86/entry/entry_64.S:95 the switch of stacks",
    _stack,
    _explain_stack,
    _stack_inside,
    _stack_outside,
)


# --- swapped


def _swapped(seen: Observations) -> Verdict:
    before = {page.virtual: page.physical for page in seen.pages}
    moved = [virtual for virtual, physical in seen.sharing.pages_after if before.get(virtual) != physical]
    reclaimable = any(_RECLAIMABLE & set(flags) for flags in seen.sharing.page_flags.values())
    return Verdict.TRUE if moved or reclaimable else Verdict.FALSE


def _explain_swapped(seen: Observations) -> str:
    return (
        "Memory is taken away from programs by way of lists (LRU) on which the kernel's own pages are not. "
        "A module's pages are there from load to unload, used or not."
        + (
            ""
            if seen.sharing.swaps
            else " This kernel was built without swap: nothing at all is swapped here, so the lists decide."
        )
    )


def _swapped_inside(seen: Observations) -> Evidence:
    sharing = seen.sharing
    if not sharing.page_flags:
        return Evidence("inside", impossible="this kernel has no /proc/kpageflags")
    rows = [f"{address:#010x} {' '.join(flags) or '-'}" for address, flags in sharing.page_flags.items()]
    rows.append(f"a program's page: {' '.join(sharing.control_flags)}")
    return inside(
        "/proc/kpageflags: none of the module's pages is on an LRU list or mapped by a program, a "
        "program's own page is.",
        "\n".join(rows),
    )


def _swapped_outside(seen: Observations) -> Evidence:
    rows = [
        f"{virtual:#018x} -> {'not mapped' if physical is None else f'{physical:#010x}'}"
        for virtual, physical in seen.sharing.pages_after
    ]
    without = "" if seen.sharing.swaps else " On a kernel without swap that alone proves nothing."
    return outside(
        f"After a program had taken {seen.sharing.pressure} MiB of memory, the page tables had the same "
        f"physical page behind every address of the module as before.{without}",
        "\n".join(rows),
    )


SWAPPED = Claim(
    17,
    "swappable",
    "Its pages can be swapped out, like a program's.",
    "Memory that is not used goes to disk.",
    "mm/vmscan.c:5911 shrink_lruvec takes pages from LRU lists alone; mm/vmalloc.c:2989 vm_area_alloc_pages "
    "puts none there",
    _swapped,
    _explain_swapped,
    _swapped_inside,
    _swapped_outside,
)


# --- one copy for all


def _copies(seen: Observations) -> Verdict:
    views = [view for view in seen.sharing.views if view.physical is not None]
    if len({view.page_table for view in views}) < 2:
        return Verdict.UNDECIDED
    return Verdict.FALSE if len({view.physical for view in views}) == 1 else Verdict.TRUE


def _explain_copies(seen: Observations) -> str:
    if _copies(seen) is Verdict.UNDECIDED:
        return "It takes two processes' page tables, and the debugger could not stop the kernel in them."
    return (
        "There is one copy of it, code and data, and every process has it at the same address, in the half "
        "of the page tables that all share. Only the kernel may touch it: a program that reads there is "
        "killed."
    )


def _copies_inside(seen: Observations) -> Evidence:
    first = min(page.virtual for page in seen.pages)
    return inside(
        f"A program that read the module's address in user mode: {seen.sharing.user_read}.",
        f"read of {first:#x}: {seen.sharing.user_read}\n{seen.sharing.seen_by_second}",
    )


def _copies_outside(seen: Observations) -> Evidence:
    views = seen.sharing.views
    if not views:
        return no_outside(NO_STOP)
    rows = [
        f"pid {view.pid} ({view.comm}), page table at {view.page_table:#010x}: "
        + ("not mapped" if view.physical is None else f"physical {view.physical:#010x}")
        for view in views
    ]
    tables = len({view.page_table for view in views})
    pages = len({view.physical for view in views})
    return outside(
        f"{count(tables, 'page table')} of as many processes, walked from outside, lead to "
        f"{count(pages, 'page')} for the same address of the module.",
        "\n".join(rows),
    )


COPIES = Claim(
    18,
    "own-copy",
    "Each process that uses it has its own copy of its data.",
    "As with the data of a shared library.",
    "arch/x86/mm/pgtable.c:123 pgd_ctor copies the kernel's entries into each new page table",
    _copies,
    _explain_copies,
    _copies_inside,
    _copies_outside,
)
