"""The tasks of a guest that took too long, with what each does and its kernel stack, sleeping ones too."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from kmod_harness.errors import MachineFailure
from kmod_harness.guest.agent.channel import AgentChannel
from kmod_harness.guest.agent.syscalls import name_of
from kmod_harness.guest.files.proc_files import calls_that_read
from kmod_harness.guest.process import Process
from kmod_harness.guest.programs.holders import names_in
from kmod_harness.machine.machine import Machine

#: Seconds for all answers together, each of which takes milliseconds: the verdict waits.
_SECONDS = 1.0
_MOST_TASKS = 40
_KERNEL_THREAD = 0x00200000  # PF_KTHREAD, include/linux/sched.h
_TICKS = 100  # USER_HZ, in which /proc counts on x86
_STATES = {
    "R": "runs",
    "S": "sleeps",
    "D": "sleeps, and takes no signal",
    "T": "is stopped",
    "t": "is stopped by a tracer",
    "Z": "has ended, and nobody asked how",
}


@dataclass(frozen=True)
class Task:
    """A thread of a program of the guest.

    pid: its number; name: its own; state: the letter of proc(5)
    session: the number of the program that leads its session
    user_seconds, kernel_seconds: what it ran in each mode
    call: the system call that it is in, "" for none
    stack: its kernel stack, innermost first, as /proc/PID/stack has it
    """

    pid: int
    name: str
    state: str
    session: int
    user_seconds: float
    kernel_seconds: float
    call: str
    stack: tuple[str, ...]

    def __str__(self) -> str:
        call = f" in {self.call}" if self.call else ""
        told = [f"process {self.pid} ({self.name}) {_STATES.get(self.state, self.state)}{call}"]
        if self.state == "R":
            told.append(
                f"  {self.user_seconds:.1f} s in user mode, {self.kernel_seconds:.1f} s in the kernel"
            )
        return "\n".join([*told, *(f"  {line}" for line in self.stack)])


def tell_tasks(machine: Machine, channel: AgentChannel, session: int | None = None) -> str:
    """Returns what the tasks of a program do, or of all, the newest first; "" where the guest is silent.

    session: the pid of a program that the agent started, which leads a session of its own
    """
    limit, machine.call_limit = machine.call_limit, _SECONDS
    try:
        with contextlib.suppress(MachineFailure, OSError), Process(machine, channel) as process:
            tasks = [
                task
                for task in _tasks(process, session)
                if session is not None or (task.pid != process.pid and not _waits_for_requests(task))
            ]
            return "\n".join(map(str, tasks[:_MOST_TASKS]))
    finally:
        machine.call_limit = limit
    return ""


def _tasks(process: Process, session: int | None) -> list[Task]:
    found: list[Task] = []
    for pid in sorted((int(name) for name in names_in(process, "/proc") if name.isdigit()), reverse=True):
        (stat,) = _texts(process, f"/proc/{pid}/stat")
        if not stat or _flags(stat) & _KERNEL_THREAD or session not in (None, _fields(stat)[3]):
            continue
        for thread in names_in(process, f"/proc/{pid}/task"):
            place = f"/proc/{pid}/task/{thread}"
            stat, stack, call = _texts(process, f"{place}/stat", f"{place}/stack", f"{place}/syscall")
            if stat:
                found.append(parse_task(stat, stack, call))
    return found


def parse_task(stat: str, stack: str, call: str) -> Task:
    """Returns the task that these files of /proc/PID tell (proc(5)). Raises ValueError for another form."""
    fields = _fields(stat)
    number = call.split(" ", 1)[0]
    return Task(
        pid=int(stat.partition(" ")[0]),
        name=stat.partition("(")[2].rpartition(")")[0],
        state=str(fields[0]),
        session=int(fields[3]),
        user_seconds=int(fields[11]) / _TICKS,
        kernel_seconds=int(fields[12]) / _TICKS,
        call=name_of(int(number)) if number.isdigit() else "",
        stack=tuple(stack.splitlines()),
    )


def _fields(stat: str) -> Sequence[str | int]:
    """Returns the fields behind the name, which may hold anything; the third is a number from there on."""
    state, *numbers = stat.rpartition(")")[2].split()
    return [state, *map(int, numbers)]


def _flags(stat: str) -> int:
    return int(_fields(stat)[6])


def _waits_for_requests(task: Task) -> bool:
    """Whether it is process 1, the agent, or a process of the agent's that nothing was asked of."""
    if task.name == "harness-worker":
        return any("pipe_read" in line for line in task.stack)
    return task.pid == 1 or task.name == "init"


def _texts(process: Process, *paths: str) -> list[str]:
    """Returns what files of proc hold, "" for one that is gone or that nobody may read."""
    texts = []
    for path in paths:
        results = process.batch(calls_that_read(path))
        data = b"".join(one.buffers[0] for one in results[1:-1] if not one.errno and one.buffers)
        texts.append(data.decode(errors="replace"))
    return texts
