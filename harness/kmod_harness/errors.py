"""Every error a user can meet: what happened, the evidence, what to do next.

There are two families. `Misuse` is a mistake in the request: a wrong path, a module for another kernel, a
missing package. The machine is not the problem. `MachineFailure` is a failure of the guest, its kernel or
QEMU. Each class has the exit status of the command line, so that none can be mistaken for another.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path


class ExitStatus(IntEnum):
    """Exit statuses of `kmod-harness run`; scripts and `git bisect run` rely on them."""

    PASSED = 0
    FAILED = 1
    #: the request is wrong, this machine lacks something, or the harness has a fault: nothing was tested
    USAGE = 2
    SPLAT = 3
    PANIC = 4
    HANG = 5
    BOOT_FAILED = 6
    QEMU_DIED = 7
    NOTHING_TESTED = 8
    LOG_INCOMPLETE = 9


#: The status by which `git bisect run` skips a commit that cannot be tested (git-bisect(1)).
BISECT_SKIP = 125


class KmodHarnessError(Exception):
    """An error of the harness: what happened, the evidence for it, and what to do next.

    message: what happened, one sentence
    evidence: text shown indented below the message, such as the end of a log or two version strings
    advice: one sentence or command that helps
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
    """A kernel, module or image could not be built; carries the first error and the path of the log.

    `built` has the paths of what was built all the same.
    """

    def __init__(
        self, message: str, *, evidence: str = "", advice: str = "", built: tuple[Path, ...] = ()
    ) -> None:
        super().__init__(message, evidence=evidence, advice=advice)
        self.built = built


class NotForThisKernel(BuildFailed):
    """A module says itself that it is not to be built for the kernel."""


class ModuleFileError(Misuse):
    """The file is not a loadable module: it is not ELF, truncated, or of another kind."""


class UnknownModule(Misuse):
    """No module has that name: it is no file, and none of the kernel's own."""


class DependencyNotLoaded(Misuse):
    """A module that another one needs could not be loaded, so that the other was not tested."""


class ModuleMismatch(Misuse):
    """The module was built for another kernel: vermagic or symbols differ."""


#: A note on an OSError that a system call of the guest returned: nothing is wrong on this machine.
GUESTS_ANSWER = "(the guest's answer)"


class InternalError(KmodHarnessError):
    """A fault of the harness itself. It says nothing about what was tested, and so never has status 1."""

    exit_status = ExitStatus.USAGE


class MachineFailure(KmodHarnessError):
    """A failure of the guest or of QEMU.

    `console` is the output of ttyS0, kept where the machine is gone before its log could be read.
    `headline` is the message for a summary's narrow line, the function at fault first; "" where the message
    itself does.
    """

    console: bytes = b""
    headline: str = ""


class BootFailed(MachineFailure):
    """The guest never became ready."""

    exit_status = ExitStatus.BOOT_FAILED


class QemuDied(MachineFailure):
    """The QEMU process ended unexpectedly."""

    exit_status = ExitStatus.QEMU_DIED


class KernelPanic(MachineFailure):
    """The guest's kernel panicked."""

    exit_status = ExitStatus.PANIC


class GuestRebooted(MachineFailure):
    """The guest reset, powered itself off or halted without reporting a panic."""

    exit_status = ExitStatus.FAILED


class AgentEnded(MachineFailure):
    """The agent, by which the harness acts in the guest, was killed there."""

    exit_status = ExitStatus.FAILED


class KernelSplat(MachineFailure):
    """The guest's kernel log holds a report of trouble in the kernel."""

    exit_status = ExitStatus.SPLAT


class KernelOops(KernelSplat):
    """An oops or BUG: a task was killed in the kernel."""


class KernelWarning(KernelSplat):
    """A WARN, or a report of a detector; the kernel continued."""


class LogIncomplete(MachineFailure):
    """The kernel counted a warning, an oops or records that its log, as it was read, does not hold."""

    exit_status = ExitStatus.LOG_INCOMPLETE


class LogUnreachable(MachineFailure):
    """The guest no longer lets its kernel log be completed: what its kernel did cannot be judged."""


class ProcessKilled(MachineFailure):
    """The guest's process was killed during a call, most often by an oops.

    signal: number of the signal, 0 when the process ended by itself
    call: name of the system call
    pid: the process's in the guest, None where it is not known
    """

    def __init__(self, message: str, number: int, call: str, pid: int | None = None) -> None:
        super().__init__(message, advice="the kernel log says why; `guest.process()` gives a new one")
        self.signal = number
        self.call = call
        self.pid = pid


class GuestHang(MachineFailure):
    """A deadline passed, or the kernel itself reported a lockup, stall or hung task.

    stdout, stderr: what a program that took too long had written until then.
    """

    exit_status = ExitStatus.HANG
    stdout: bytes = b""
    stderr: bytes = b""


class ModuleLoadError(MachineFailure):
    """finit_module refused the module; carries the log lines that explain it.

    `errno` is the guest's, as a positive int.
    """

    def __init__(self, message: str, errno: int, *, evidence: str = "", advice: str = "") -> None:
        super().__init__(message, evidence=evidence, advice=advice)
        self.errno = errno


class CommandFailed(MachineFailure):
    """A program of the guest did not exit with status 0, and `check()` insists on it."""


class SshFailed(MachineFailure):
    """The guest does not take the SSH connection, or a transfer by SSH failed."""


class StateNotSaved(MachineFailure):
    """QEMU could not save or load the guest's state."""


class CheckFailed(MachineFailure):
    """A check of a module or of the kernel does not hold."""


class ModuleNotExplained(CheckFailed):
    """A byte, an address or a permission of a loaded module has no explanation."""
