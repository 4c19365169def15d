"""Single things that an experiment measures: a range, a stack, a step, what ran, what was refused.

Addresses are ints, sizes bytes, ranges half-open.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Region:
    """A named range of addresses, `end` exclusive."""

    name: str
    start: int
    end: int
    note: str = ""

    @property
    def size(self) -> int:
        return self.end - self.start

    def __contains__(self, address: int) -> bool:
        return self.start <= address < self.end


@dataclass(frozen=True)
class Frame:
    """A frame of a stack. image: `vmlinux`, the module's name, or `user`; file and line: "" and 0 unknown.

    address: where execution goes on in this frame; an inlined one has its caller's.
    """

    function: str
    address: int
    file: str
    line: int
    image: str
    inlined: bool = False


@dataclass(frozen=True)
class Stop:
    """The CPU stopped by a breakpoint in the module, seen by gdb's stub and QEMU; innermost frame first.

    task_pid, task_comm: of `current`, from the kernel's memory, 0 and "" without vmlinux. task_stack:
    `current->stack` and THREAD_SIZE. user_stack_pointer: where the user program's own stack was at the system
    call. unwound: by debug information; else the frames are the return addresses that lie on the stack.
    """

    function: str
    rip: int
    rsp: int
    cpl: int
    cr3: int
    frames: tuple[Frame, ...]
    task_pid: int
    task_comm: str
    task_stack: Region
    user_stack_pointer: int
    raw: str
    unwound: bool = True


@dataclass(frozen=True)
class Step:
    """One step of the timeline: `at` microseconds after finit_module was entered, `took` microseconds.

    depth: nesting, 0 for the system call itself. meaning: in plain words. source: file:line of
    CHECKED_RELEASE.
    count: how many calls in a row this stands for.
    """

    at: float
    took: float
    depth: int
    function: str
    meaning: str
    source: str
    count: int = 1


@dataclass(frozen=True)
class ExecutedBlock:
    """A translated block that ran: its first address, the CPU's privilege level (0: kernel), which CPU."""

    address: int
    cpl: int
    cpu: int
    symbol: str = ""


@dataclass(frozen=True)
class ExecutedCode:
    """What QEMU's execution log holds of the module over one stretch of `seconds` wall time, in order."""

    what: str
    seconds: float
    blocks: tuple[ExecutedBlock, ...]


@dataclass(frozen=True)
class Attempt:
    """A system call that may be refused: what was tried, its errno (0: it worked), what the kernel logged."""

    what: str
    errno: int
    log: str

    @property
    def worked(self) -> bool:
        return self.errno == 0


@dataclass(frozen=True)
class PageTableView:
    """The module's first page in one process's page tables; physical None: not mapped there."""

    pid: int
    comm: str
    page_table: int
    physical: int | None
