"""The surroundings of every experiment: guest, running kernel, execution log, module and layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.explain.observe.running_kernel import RunningKernel, read_running_kernel
from kmod_harness.explain.probes.execution_log import ExecutionLog, NoExecutionLog
from kmod_harness.guest.guest import Guest
from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.kmod.layout.predict import Layout, predict_layout
from kmod_harness.kmod.symbols.symbol_files import AddressesHidden


@dataclass(frozen=True)
class Subject:
    """The module to be examined.

    file: the module
    parameters: parameters as insmod takes them
    dependent: a module that needs it, None without
    providers: loaded modules that it may depend on
    """

    file: KernelModule
    parameters: str = ""
    dependent: KernelModule | None = None
    providers: tuple[KernelModule, ...] = ()


def read_subject(path: Path, *, parameters: str = "", dependent: Path | None = None) -> Subject:
    """Returns the module to be examined. Raises ModuleFileError."""
    return Subject(read_module(path), parameters, read_module(dependent) if dependent is not None else None)


@dataclass(frozen=True)
class Experiment:
    """A booted guest and the module to be examined, not loaded yet.

    guest: the guest, with `execution_log_arguments` on QEMU's command line
    running: its kernel
    log: execution log of its machine
    subject: the module
    layout: layout of the module in this kernel
    """

    guest: Guest
    running: RunningKernel
    log: ExecutionLog
    subject: Subject
    layout: Layout

    @property
    def file(self) -> KernelModule:
        return self.subject.file


def set_up_experiment(guest: Guest, kernel: Kernel, log: Path, subject: Subject) -> Experiment:
    """Returns the experiment; `log` is the file given to `execution_log_arguments`.

    Raises NoExecutionLog, UnsupportedRelease (the module layout is not known), KernelSymbolsHidden,
    AddressesHidden.
    """
    if guest.machine.accelerator.name != "tcg" or str(log) not in guest.machine.argv:
        raise NoExecutionLog(
            "this machine has no execution log, which shows from outside what ran",
            evidence=f"accelerator {guest.machine.accelerator.name}, log file {log}",
            advice='boot it with Spec(accelerator="tcg", qemu_args=execution_log_arguments(log, ...))',
        )
    if guest.read_text("/proc/sys/kernel/kptr_restrict").strip() == "2":
        raise AddressesHidden(
            "the guest shows nobody where a module is: half of the claims cannot be tried",
            evidence="kernel.kptr_restrict is 2",
            advice="boot it with kernel.kptr_restrict at 0 or 1",
        )
    running = read_running_kernel(guest, kernel)
    return Experiment(
        guest, running, ExecutionLog(guest.machine, log), subject, layout_of(running, subject.file)
    )


def layout_of(running: RunningKernel, file: KernelModule) -> Layout:
    """Returns the module's layout on this kernel."""
    options = running.options
    return predict_layout(
        file, unload=options.unload, kallsyms=options.kallsyms, kallsyms_all=options.kallsyms_all
    )
