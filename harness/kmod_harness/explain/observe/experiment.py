"""What every step of a run works with: the guest, the ground it stands on, the module and its layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.kernel.known import Kernel
from kmod_harness.explain.observe.running_kernel import Ground, survey
from kmod_harness.explain.probes.execution_log import ExecutionLog, NoExecutionLog
from kmod_harness.guest.guest import Guest
from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.kmod.layout.predict import Layout, predict_layout
from kmod_harness.kmod.symbols.tables import AddressesHidden


@dataclass(frozen=True)
class Subject:
    """The module to be examined. parameters: as insmod takes them. dependent: a module that needs it.

    providers: loaded modules that it may depend on.
    """

    file: KernelModule
    parameters: str = ""
    dependent: KernelModule | None = None
    providers: tuple[KernelModule, ...] = ()


def subject(path: Path, *, parameters: str = "", dependent: Path | None = None) -> Subject:
    """Returns a module as the experiments take it. Raises ModuleFileError."""
    return Subject(read_module(path), parameters, read_module(dependent) if dependent is not None else None)


@dataclass(frozen=True)
class Bench:
    """guest: booted, with `execution_log_arguments` on its command line, and the subject not loaded."""

    guest: Guest
    ground: Ground
    log: ExecutionLog
    subject: Subject
    layout: Layout

    @property
    def file(self) -> KernelModule:
        return self.subject.file


def set_up(guest: Guest, kernel: Kernel, log: Path, subject: Subject) -> Bench:
    """Returns the bench; `log` is the file given to `execution_log_arguments`.

    Raises NoExecutionLog, UnsupportedRelease (whose module layout is not known), KernelSymbolsHidden,
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
    ground = survey(guest, kernel)
    return Bench(guest, ground, ExecutionLog(guest.machine, log), subject, layout_of(ground, subject.file))


def layout_of(ground: Ground, file: KernelModule) -> Layout:
    """Returns the module's layout on this kernel."""
    options = ground.options
    return predict_layout(
        file, unload=options.unload, kallsyms=options.kallsyms, kallsyms_all=options.kallsyms_all
    )
