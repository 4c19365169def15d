"""When a module's code runs, and who calls it."""

from __future__ import annotations

import re

from kmod_harness.explain.claims.claim import Claim, Evidence, Verdict
from kmod_harness.explain.claims.phrases import (
    NO_STOP,
    count,
    executed_text,
    inside,
    no_inside,
    no_outside,
    outside,
    stop_text,
)
from kmod_harness.explain.observed.observations import Observations

# --- insmod calls init


def _named_pids(log: str) -> list[int]:
    """Process ids that the module's messages name, as the sample modules write them, in order."""
    return [int(pid) for pid in re.findall(r"\(pid (\d+) comm ", log)]


def _init_pid(seen: Observations) -> int:
    """The process that init ran in: by the stop, else by the module's first message; 0 when neither tells."""
    stop = seen.loading.init_stop
    if stop is not None and stop.task_pid:
        return stop.task_pid
    return next(iter(_named_pids(seen.loading.log)), 0)


def _insmod(seen: Observations) -> Verdict:
    if not _init_pid(seen):
        return Verdict.UNDECIDED
    if _init_pid(seen) != seen.loading.caller_pid:
        return Verdict.FALSE
    stop = seen.loading.init_stop
    return Verdict.TRUE if stop is not None and stop.cpl == 3 else Verdict.IMPRECISE


def _explain_insmod(seen: Observations) -> str:
    if _insmod(seen) is Verdict.UNDECIDED:
        return "Neither the module's messages nor a debugger say in which process its init ran."
    if _insmod(seen) is Verdict.FALSE:
        return f"Its init ran in process {_init_pid(seen)}, and {seen.loading.caller_pid} had made the call."
    return (
        "insmod makes one system call, finit_module, and waits. The kernel calls init while it handles that "
        f"call: so init runs in insmod's process (pid {seen.loading.caller_pid} here), but as kernel code, "
        "called by the kernel. What init returns becomes the system call's result."
    )


def _insmod_inside(seen: Observations) -> Evidence:
    if seen.loading.caller_pid not in _named_pids(seen.loading.log):
        return no_inside("this module's init does not say which process it runs in")
    return inside(
        f"The module's own message names pid {seen.loading.caller_pid}, the process that called "
        "finit_module.",
        seen.loading.log,
    )


def _insmod_outside(seen: Observations) -> Evidence:
    stop = seen.loading.init_stop
    if stop is None:
        return no_outside(NO_STOP)
    return outside(
        f"A breakpoint at the predicted address of {stop.function} ({seen.loading.init_address:#x}) is hit, "
        f"at privilege level {stop.cpl}, with do_one_initcall and the system call on the stack.",
        stop_text(stop),
    )


INSMOD = Claim(
    7,
    "insmod-calls-init",
    "insmod calls the module's init function.",
    "insmod loads it and starts it.",
    "kernel/module/main.c:2478 do_one_initcall(mod->init), 2954 finit_module",
    _insmod,
    _explain_insmod,
    _insmod_inside,
    _insmod_outside,
)


# --- nothing runs until open


def _quiet(seen: Observations) -> Verdict:
    if seen.opening.quiet.blocks or seen.opening.traced_quiet:
        return Verdict.FALSE
    if seen.loading.executed.blocks:
        return Verdict.IMPRECISE  # init has run, at the load
    # a log that saw nothing proves something only if it can see
    return Verdict.TRUE if seen.opening.opened and seen.opening.opened.blocks else Verdict.UNDECIDED


def _explain_quiet(seen: Observations) -> str:
    if _quiet(seen) is Verdict.FALSE:
        ran = [block.symbol.split("+")[0] for block in seen.opening.quiet.blocks]
        who = (
            ", ".join(dict.fromkeys(name for name in (*seen.opening.traced_quiet, *ran) if name))
            or "its code"
        )
        return (
            f"Not with this module: while nobody used it, {who} ran. A timer, a kernel thread, an interrupt "
            "or a notifier runs a module's code without anybody opening anything."
        )
    first = (
        "Its init function ran when it was loaded. After that"
        if _quiet(seen) is Verdict.IMPRECISE
        else "Here"
    )
    return (
        f"{first} not one of its instructions ran until its device was opened. That holds for a plain "
        "character device like this one. A module with a timer, a thread, an interrupt or a notifier runs "
        "whenever those do."
    )


def _quiet_inside(seen: Observations) -> Evidence:
    opening = seen.opening
    if not opening.traced_raw:
        return no_inside("this kernel's function tracer, if it has one, sees none of the module")
    quiet = ", ".join(opening.traced_quiet) or "none"
    opened = ", ".join(opening.traced_open) or "none"
    blind = " (ftrace sees functions entered, not one that goes on in a loop)" if opening.quiet.blocks else ""
    return inside(
        f"ftrace on all of the module's functions: {quiet} while it was left alone{blind}; {opened} when "
        "its device was opened and closed.",
        opening.traced_raw,
    )


def _quiet_outside(seen: Observations) -> Evidence:
    opening = seen.opening
    texts = [executed_text(seen.loading.executed, 8), executed_text(opening.quiet)]
    if opening.opened is not None:
        texts.append(executed_text(opening.opened))
    return outside(
        "QEMU's execution log, filtered to the module's addresses: "
        f"{count(len(opening.quiet.blocks), 'block')} in {opening.quiet.seconds:.1f} s left alone, "
        f"{len(opening.opened.blocks) if opening.opened else 0} when its device was opened and closed.",
        "\n".join(texts),
    )


QUIET = Claim(
    9,
    "nothing-runs-until-open",
    "Nothing of it runs until its device is opened.",
    "A driver answers when it is asked.",
    "kernel/module/main.c:2478 init is called once; fs/char_dev.c:414 open",
    _quiet,
    _explain_quiet,
    _quiet_inside,
    _quiet_outside,
)


# --- open goes through a system call


def _syscall(seen: Observations) -> Verdict:
    stop = seen.opening.stop
    if not seen.opening.device:
        return Verdict.UNDECIDED
    if stop is None:
        return (
            Verdict.TRUE
            if any("<-chrdev_open" in line for line in seen.opening.traced_raw.splitlines())
            else Verdict.UNDECIDED
        )
    functions = [frame.function for frame in stop.frames]
    through = any(name.startswith("entry_SYSCALL") for name in functions) and "chrdev_open" in functions
    return Verdict.TRUE if through and stop.cpl == 0 else Verdict.FALSE


def _explain_syscall(seen: Observations) -> str:
    if not seen.opening.device:
        return "This module has no character device to open."
    if not seen.opening.function:
        return "This module's device has no open function: the open ends in the kernel, and none of it runs."
    return (
        "The program's open() is a system call. The kernel finds the file, sees that it is a character "
        "device, and chrdev_open looks up who has registered its number: then it calls the module's open. "
        "No other process or thread takes part: the syscall instruction brings the caller itself into the "
        "kernel, onto the stack that it has there, and from then on one function calls the next."
    )


def _syscall_inside(seen: Observations) -> Evidence:
    opening = seen.opening
    if not opening.traced_raw:
        return no_inside("this kernel's function tracer, if it has one, sees none of the module")
    return inside(
        f"ftrace shows who called: {', '.join(opening.traced_open) or 'nothing'}, with the caller behind "
        "the arrow.",
        opening.traced_raw + (f"\n{opening.log}" if opening.log else ""),
    )


def _syscall_outside(seen: Observations) -> Evidence:
    stop = seen.opening.stop
    if stop is None:
        if not seen.opening.device:
            return no_outside("there is no device to open")
        if not seen.opening.function:
            return no_outside("the module has no open function of its own to stop at")
        return no_outside(NO_STOP)
    how = "frames" if stop.unwound else "return addresses on the stack"
    return outside(
        f"gdb, stopped in {stop.function}: {len(stop.frames)} {how} from there back to the program's "
        "system call.",
        stop_text(stop),
    )


SYSCALL = Claim(
    10,
    "open-is-a-syscall",
    "open() goes through a system call to the module's function.",
    "So it is taught, and it is so.",
    "fs/char_dev.c:373 chrdev_open, 414 the call; fs/open.c:882 f->f_op->open; "
    "arch/x86/entry/entry_64.S:121 do_syscall_64",
    _syscall,
    _explain_syscall,
    _syscall_inside,
    _syscall_outside,
)
