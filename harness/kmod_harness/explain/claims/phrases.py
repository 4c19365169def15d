"""Small pieces of text that several claims' evidence is made of."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

from kmod_harness.explain.claims.claim import Evidence
from kmod_harness.explain.observed.observations import Attempt, ExecutedBlock, ExecutedCode, Frame, Stop


def inside(summary: str, detail: str = "") -> Evidence:
    return Evidence("inside", summary, detail.rstrip("\n"))


def outside(summary: str, detail: str = "") -> Evidence:
    return Evidence("outside", summary, detail.rstrip("\n"))


def no_inside(why: str) -> Evidence:
    return Evidence("inside", impossible=why)


def no_outside(why: str) -> Evidence:
    return Evidence("outside", impossible=why)


NO_STOP = "the debugger could not stop the kernel there: gdb, or the kernel's symbols, are missing"


def attempt_text(attempt: Attempt) -> str:
    """`what: loaded` or `what: refused with ENOEXEC`, and the kernel's words below."""
    name = errno.errorcode.get(attempt.errno, str(attempt.errno))
    head = f"{attempt.what}: " + ("worked" if attempt.worked else f"refused with {name}")
    return "\n".join([head, *(f"    {line}" for line in attempt.log.splitlines())])


def stack_text(stop: Stop) -> str:
    """The stack, innermost first: address, function, image, file and line; inlined ones marked."""
    return "\n".join(_frame_text(number, frame) for number, frame in enumerate(stop.frames))


def _frame_text(number: int, frame: Frame) -> str:
    where = f" at {frame.file}:{frame.line}" if frame.file else ""
    inlined = " (inlined)" if frame.inlined else ""
    return f"#{number:<2} {frame.address:#018x} {frame.function} [{frame.image}]{where}{inlined}"


def stop_text(stop: Stop) -> str:
    """Registers and task at the breakpoint, then the stack."""
    task = f"current: pid {stop.task_pid}, comm {stop.task_comm}; its" if stop.task_pid else "the"
    guessed = (
        "" if stop.unwound else "no vmlinux to unwind by: return addresses on the stack, some may be stale\n"
    )
    return (
        f"rip {stop.rip:#018x}  rsp {stop.rsp:#018x}  cr3 {stop.cr3:#x}  privilege level {stop.cpl}\n"
        f"{task} kernel stack {stop.task_stack.start:#018x}-{stop.task_stack.end:#018x}\n"
        f"{guessed}{stack_text(stop)}"
    )


def executed_text(executed: ExecutedCode, limit: int = 40) -> str:
    """One line a block that ran, repeated ones counted."""
    if not executed.blocks:
        return f"{executed.what}: 0 blocks of the module in {executed.seconds:.1f} s"
    lines = [f"{executed.what}: {len(executed.blocks)} blocks of the module in {executed.seconds:.1f} s"]
    lines += [f"    {_block_text(block)}" for block in executed.blocks[:limit]]
    if len(executed.blocks) > limit:
        lines.append(f"    ... and {len(executed.blocks) - limit} more")
    return "\n".join(lines)


def _block_text(block: ExecutedBlock) -> str:
    return f"{block.address:#018x} CPL {block.cpl} CPU {block.cpu} {block.symbol}".rstrip()


def count(number: int, noun: str) -> str:
    """`1 page`, `2 pages`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def lines(texts: Iterable[str], limit: int = 60) -> str:
    """The first lines, and how many more there are."""
    all_of_them: Sequence[str] = tuple(texts)
    more = [] if len(all_of_them) <= limit else [f"... and {len(all_of_them) - limit} more"]
    return "\n".join([*all_of_them[:limit], *more])
