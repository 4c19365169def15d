"""Every error a user can meet: what happened, the evidence, what to do next.

Two families. `Misuse` is a mistake in what was asked (a path, a module for
another kernel, a missing package): the machine was never the problem.
`MachineFailure` is what the guest, its kernel or QEMU did. Each class carries
the exit status of the command line, so that none can be taken for another.
"""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit statuses of `kmod-harness run`; scripts and `git bisect run` rely on them."""

    PASSED = 0
    FAILED = 1
    #: the request or this machine is not as it has to be, or the harness has a fault: nothing was tested
    USAGE = 2
    SPLAT = 3
    PANIC = 4
    HANG = 5
    BOOT_FAILED = 6
    QEMU_DIED = 7
    NOTHING_TESTED = 8


#: What `git bisect run` takes for "this commit cannot be tested" (git-bisect(1)).
BISECT_SKIP = 125


class KmodHarnessError(Exception):
    """What happened, the evidence for it, and what to do next.

    `evidence` is text shown indented below the message (a log's tail, two
    version strings); `advice` is one sentence or command that helps.
    """

    exit_status = ExitStatus.FAILED

    def __init__(self, message: str, *, evidence: str = "", advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.evidence = evidence
        self.advice = advice

    def __str__(self) -> str:
        parts = [self.message]
        if self.evidence:
            parts += [f"  {line}" for line in self.evidence.rstrip().splitlines()]
        if self.advice:
            parts.append(f"-> {self.advice}")
        return "\n".join(parts)


class Misuse(KmodHarnessError):
    """The request cannot be carried out as made; nothing was tested."""

    exit_status = ExitStatus.USAGE


class MissingTool(Misuse):
    """A program or package that this step needs is not installed."""


class BuildFailed(Misuse):
    """A kernel, module or image could not be built; carries the first error and the log's path."""


class ModuleFileError(Misuse):
    """The file is not a module that could be loaded: not ELF, truncated, of another kind."""


class ModuleMismatch(Misuse):
    """The module was built for another kernel: vermagic or symbols differ."""


#: A note on an OSError that a system call of the guest's gave: nothing on this machine is the matter.
GUESTS_ANSWER = "(the guest's answer)"


class InternalError(KmodHarnessError):
    """A fault of the harness itself: it says nothing of what was tested, and so never has status 1."""

    exit_status = ExitStatus.USAGE


class MachineFailure(KmodHarnessError):
    """Something the guest or QEMU did.

    `console` is what ttyS0 carried, where the machine is gone before anybody could ask it.
    """

    console: bytes = b""


class BootFailed(MachineFailure):
    """The guest never became ready."""

    exit_status = ExitStatus.BOOT_FAILED


class QemuDied(MachineFailure):
    """The QEMU process ended although nobody asked it to."""

    exit_status = ExitStatus.QEMU_DIED


class KernelPanic(MachineFailure):
    """The guest's kernel panicked."""

    exit_status = ExitStatus.PANIC


class GuestRebooted(MachineFailure):
    """The guest reset or powered itself off without a panic's text."""

    exit_status = ExitStatus.FAILED


class KernelSplat(MachineFailure):
    """The guest's kernel log holds a report of the kernel's own misbehaviour."""

    exit_status = ExitStatus.SPLAT


class KernelOops(KernelSplat):
    """An oops or BUG: a task was killed in the kernel."""


class KernelWarning(KernelSplat):
    """A WARN, or a detector's report; the kernel went on."""


class ProcessKilled(MachineFailure):
    """The guest's process was killed while it made a call, by an oops most of all.

    `signal` is the signal's number, 0 when it ended by itself; `call` the system call's name.
    """

    def __init__(self, message: str, number: int, call: str) -> None:
        super().__init__(message, advice="the kernel log says why; `guest.process()` gives a new one")
        self.signal = number
        self.call = call


class GuestHang(MachineFailure):
    """A deadline passed, or the kernel itself reported a lockup, stall or hung task."""

    exit_status = ExitStatus.HANG


class ModuleLoadError(MachineFailure):
    """finit_module refused the module; carries errno and the log lines that explain it.

    `errno` is the guest's, as a positive int.
    """

    def __init__(self, message: str, errno: int, *, evidence: str = "", advice: str = "") -> None:
        super().__init__(message, evidence=evidence, advice=advice)
        self.errno = errno


class CheckFailed(MachineFailure):
    """A check of the main job does not hold."""
