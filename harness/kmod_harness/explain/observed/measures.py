"""The single measurements of experiments: a range, a stack, a step, code that ran, an attempt.

Addresses are ints, sizes are in bytes, the end of a range is exclusive.
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
    """A frame of a stack.

    function: name of the function
    address: where execution continues in this frame; an inlined frame has its caller's address
    file: source file, "" when unknown
    line: number of the line, 0 when unknown
    image: `vmlinux`, the module's name, or `user`
    inlined: whether the function is inlined
    """

    function: str
    address: int
    file: str
    line: int
    image: str
    inlined: bool = False


@dataclass(frozen=True)
class Stop:
    """A CPU stopped by a breakpoint, seen by gdb and QEMU.

    function: function in which it stopped
    rip: instruction pointer
    rsp: stack pointer
    cpl: privilege level
    cr3: root of the page tables
    frames: the stack, innermost frame first
    task_pid: pid of `current`, read from kernel memory, 0 without vmlinux
    task_comm: comm of `current`, "" without vmlinux
    task_stack: `current->stack` and THREAD_SIZE
    user_stack_pointer: stack pointer of the user program at its system call
    raw: gdb's own output, or the stack's bytes
    unwound: True by debug information; otherwise the frames are return addresses found on the stack
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
    """One step of the timeline.

    at: microseconds since finit_module was entered
    took: microseconds
    depth: nesting, 0 for the system call itself
    function: name of the function
    meaning: what it does, in plain words
    source: file:line in CHECKED_RELEASE
    count: number of consecutive calls that this step stands for
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
    """A translated block that ran.

    address: its first address
    cpl: privilege level of the CPU, 0 in the kernel
    cpu: number of the CPU
    symbol: function and offset, "" when not looked up
    """

    address: int
    cpl: int
    cpu: int
    symbol: str = ""


@dataclass(frozen=True)
class ExecutedCode:
    """The code in the module range that ran during a period, by QEMU's execution log.

    what: what happened in the period
    seconds: wall time of the period
    blocks: blocks that ran, in order
    """

    what: str
    seconds: float
    blocks: tuple[ExecutedBlock, ...]


@dataclass(frozen=True)
class Attempt:
    """A system call that may be refused.

    what: what was attempted
    errno: its error number, 0 when it worked
    log: what the kernel logged
    """

    what: str
    errno: int
    log: str

    @property
    def worked(self) -> bool:
        return self.errno == 0


@dataclass(frozen=True)
class PageTableView:
    """The module's first page in one process's page tables.

    pid: the process
    comm: its name
    page_table: root of its page tables
    physical: physical address of the page, None where it is not mapped
    """

    pid: int
    comm: str
    page_table: int
    physical: int | None
