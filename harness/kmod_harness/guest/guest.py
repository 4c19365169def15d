"""The guest as its user sees it: files, processes, programs, modules, shell, SSH, kernel log."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kmod_harness.errors import GuestHang, MachineFailure, Misuse
from kmod_harness.guest import jobs
from kmod_harness.guest.agent.channel import AgentChannel
from kmod_harness.guest.files.push import push
from kmod_harness.guest.kernel_log import KernelLog
from kmod_harness.guest.loaded_module import LoadedModule, file_for_guest, load, unload_left
from kmod_harness.guest.modprobe import ModprobeDirectory
from kmod_harness.guest.process import Process
from kmod_harness.guest.programs.callers import Callers
from kmod_harness.guest.restore import PendingRestore, SavedFacts
from kmod_harness.kmod.loading.parameters import Parameter
from kmod_harness.machine.deadline import BootLimit
from kmod_harness.machine.machine import Machine
from kmod_harness.spec.spec import Spec

if TYPE_CHECKING:
    from kmod_harness.guest.files.open_file import GuestFile
    from kmod_harness.guest.module_watch import ModuleWatch
    from kmod_harness.guest.shell import Shell
    from kmod_harness.guest.ssh import Ssh
    from kmod_harness.klog.splats import Splat
    from kmod_harness.kmod.elf.module import KernelModule
    from kmod_harness.kmod.loading.own_modules import OwnModules
    from kmod_harness.kmod.preflight import KernelFacts
    from kmod_harness.kmod.symbols.symbol_files import Kallsyms


class Checkpoint(Protocol):
    """A guest as it was when it was saved: `guest()` is a block with a guest in that state, restored."""

    def guest(self) -> AbstractContextManager[Guest]: ...


class Guest:
    """A booted guest. Everything here fails at once, and says so, when the machine ends.

    Threads may use it at once; each has a process of its own in the guest.

    `kernel_facts` gives what is known of its kernel for the check before a load, None for no check,
    `own_modules` the modules it comes with. `boot_seconds` runs from QEMU's start to the agent's first word.
    `saved` is what the template of a restored guest remembers, `restoring` the same guest when it was called
    already.
    """

    def __init__(
        self,
        machine: Machine,
        *,
        kernel_facts: Callable[[], KernelFacts | None] = lambda: None,
        own_modules: Callable[[], OwnModules | None] = lambda: None,
        boot_timeout: float | None = None,
        saved: SavedFacts | None = None,
        restoring: PendingRestore | None = None,
    ) -> None:
        self.machine = machine
        self._kernel_facts = kernel_facts
        self._own_modules = own_modules
        if saved is not None and restoring is None:
            restoring = PendingRestore(machine, saved)
        self._channel = restoring.channel if restoring else AgentChannel(machine)
        self._callers = Callers(self._new_process)
        limit = BootLimit(boot_timeout) if boot_timeout is not None else machine.boot_limit
        deadline = machine.deadline("the boot", limit.seconds, exact=boot_timeout is not None)
        if restoring is None:
            self._channel.await_hello(deadline, str(limit))
        else:
            self._callers.first = restoring.finish(deadline)
        self.was_restored = saved is not None
        #: the kernel's, in bytes, where it was told before; None where it has to be read
        self._known_slide = saved.slide if saved else None
        self.boot_seconds = time.monotonic() - machine.started
        self.kernel_log = KernelLog(machine, saved.log if saved else b"")
        self._others: list[Process] = []
        self._modules: list[LoadedModule] = []
        #: name -> the file `load` was last given, also of modules the kernel refused or has no more
        self._loaded_files: dict[str, KernelModule] = {}
        #: processes that wait unused (number, pid)
        self._spares = list(saved.spares) if saved else []
        #: modules of the checkpoint this guest comes from; they are not its own to unload
        self._inherited = saved.modules if saved else ()
        self._modprobe = ModprobeDirectory(self._inherited, has_own=machine.spec.modules == "all")
        #: whether `load` ever succeeded, here or in the guest it is a checkpoint of
        self._has_loaded = bool(self._inherited)
        #: whether a module without an exit function stays in it
        self._has_permanent = False
        #: what `checkpoint` does, and who looks for what modules leave behind; others set them
        self._saver: Callable[[Guest, str], Checkpoint] | None = None
        self._watch: ModuleWatch | None = None
        self._shell: Shell | None = None
        self._ssh: Ssh | None = None

    def __repr__(self) -> str:
        return f"<Guest of {self.machine!r}>"

    @property
    def spec(self) -> Spec:
        return self.machine.spec

    # --- processes and files
    @property
    def syscaller(self) -> Process:
        """The process behind this thread's calls; a new one when the last was killed or blocks."""
        return self._callers.of_this_thread()

    def _new_process(self) -> Process:
        return Process(self.machine, self._channel, self._spares.pop() if self._spares else None)

    def process(self) -> Process:
        """Returns a new process of the guest: a second opener, a reader that may block."""
        process = self._new_process()
        self._others.append(process)
        return process

    def open(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o666) -> GuestFile:
        """Returns an open file of the guest. Raises OSError with the guest's errno."""
        return self.syscaller.open(path, flags, mode)

    def read_file(self, path: str) -> bytes:
        return self.syscaller.read_file(path)

    def read_text(self, path: str) -> str:
        return self.syscaller.read_text(path)

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self.syscaller.write_file(path, data, mode)

    def exists(self, path: str) -> bool:
        return self.syscaller.exists(path)

    def device_number(self, path: str) -> tuple[int, int]:
        """Returns (major, minor) of a device node. Raises OSError."""
        return self.syscaller.device_number(path)

    def make_directories(self, path: str) -> None:
        """Makes a directory and its parents; one that exists is left as it is."""
        parts = path.strip("/").split("/")
        made = ["/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        self.syscaller.make_directories(made)

    def push(self, source: Path | str, path: str) -> tuple[Path, ...]:
        """Copies a file or a directory from the host, with its permissions; links in a directory stay links.

        Returns what is none of these, such as a FIFO, and was left out.
        """
        return push(self, Path(source), path)

    # --- programs

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        environment: Mapping[str, str] | None = None,
        directory: str = "",
        input: bytes = b"",
    ) -> jobs.Completed:
        """Runs a program: stdout, stderr and exit status apart; `.check()` insists on status 0.

        Raises OSError when it cannot be executed, GuestHang when it takes longer than
        `timeout` seconds; it is killed then.
        """
        path = ""
        if input:
            path = "/kmod-harness/input"
            self.write_file(path, input)
        return jobs.run(
            self.machine,
            self._channel,
            argv,
            timeout=timeout,
            environment=environment,
            directory=directory,
            input_path=path,
        )

    @property
    def shell(self) -> Shell:
        """The shell on ttyS1, by pexpect; starts in step when first used. Raises BootFailed."""
        if self._shell is None:
            from kmod_harness.guest.shell import serial_shell  # lazy

            shell = serial_shell(self.machine)
            shell.synchronise(prompt_seen=self.was_restored)
            self._shell = shell
        return self._shell

    def _shell_transcript(self) -> str:
        """Returns the shell's output, the last MiB at least; "" when it was not used."""
        return "" if self._shell is None else self._shell.transcript.decode(errors="replace")

    @property
    def ssh(self) -> Ssh:
        """An SSH connection by paramiko, made when first used. Raises SshFailed."""
        if self._ssh is None:
            from kmod_harness.guest.ssh import Ssh  # lazy

            self._ssh = Ssh(self)
        return self._ssh

    # --- modules

    def load(
        self,
        path: str | Path,
        parameters: Mapping[str, Parameter] | None = None,
        *,
        process: Process | None = None,
        force: bool = False,
        timeout: float | None = None,
        **more: Parameter,
    ) -> LoadedModule:
        """Loads a .ko of the host, or one of the kernel's own by its name, after what it needs of these.

        Checks it against the kernel, then calls finit_module once. Parameters go by keyword, or in
        `parameters` where a name is one of this method's own. `force` loads the file alone and unchecked, to
        see the kernel's own answer. Raises ModuleFileError, UnknownModule, ModuleMismatch (before loading),
        DependencyNotLoaded, ModuleLoadError (with errno).
        """
        from kmod_harness.guest.dependencies import file_meant, load_with_needs  # lazy

        file = file_meant(self, path)
        together = {**(parameters or {}), **more}
        if force:
            return self._load_alone(file, together, process, timeout)
        return load_with_needs(self, file, together, process, timeout)

    def _load_alone(
        self,
        file: KernelModule,
        parameters: Mapping[str, Parameter],
        process: Process | None,
        timeout: float | None,
        *,
        is_given: bool = True,
    ) -> LoadedModule:
        self._loaded_files[file.name] = file
        if self._watch is not None and is_given:
            self._watch.before_load()
        started = time.monotonic()
        data = file_for_guest(file)
        module = load(self, file, data, parameters, process=process, timeout=timeout)
        module.load_seconds = time.monotonic() - started
        self.kernel_log.addresses.note(file.name, file.symbols, module.sections)
        self._modules.append(module)
        self._has_loaded = True
        module._is_given = is_given
        if self._watch is not None and is_given:
            self._watch.loaded(module)
        return module

    def check_before_loading(self, file: KernelModule) -> None:
        """Raises ModuleMismatch, with both sides shown, for a module this kernel would refuse."""
        from kmod_harness.guest.dependencies import check_against_kernel, needs_of  # lazy

        check_against_kernel(self, file, (load.module for load in needs_of(self, file)[0]))

    @property
    def modules(self) -> tuple[LoadedModule, ...]:
        """The modules that `load` loaded and nobody unloaded, in order."""
        return tuple(self._modules)

    def module(self, name: str) -> LoadedModule:
        """Returns a loaded module: one that `load` loaded, or one of the checkpoint this guest comes from.

        Raises KeyError for any other.
        """
        for module in self._modules:
            if module.name == name:
                return module
        for file in self._inherited:
            if file.name == name:
                return LoadedModule(self, file)
        raise KeyError(f"{name} was not loaded by this harness")

    def _note_unloaded(self, module: LoadedModule) -> None:
        """Takes an unloaded module off the list, and tells who watches; LoadedModule.unload calls it."""
        if module in self._modules:
            self._modules.remove(module)
        if self._watch is not None:
            self._watch.unloaded(module)

    def kallsyms(self) -> Kallsyms:
        """Returns the guest's /proc/kallsyms, parsed."""
        from kmod_harness.kmod.symbols.symbol_files import parse_kallsyms  # lazy

        return parse_kallsyms(self.syscaller.read_proc("/proc/kallsyms").decode(errors="replace"))

    def checkpoint(self, name: str = "") -> Checkpoint:
        """Saves the guest as it is now; `.guest()` of what it returns gives guests in that state.

        What is loaded and open is so in each of them. This guest goes on; its checkpoint lives as long as it
        does. name: in pytest, for a checkpoint that lives as long as the fixture `machine`, whose
        `machine.checkpoint(name)` gives it again. Raises Misuse for a name that is taken, StateNotSaved for a
        machine that QEMU cannot save.
        """
        if self._saver is None:
            raise Misuse(
                "this guest was made without a place for checkpoints",
                advice="the guests of kmod_harness.boot() and of pytest's fixtures have one",
            )
        return self._saver(self, name)

    # --- judging

    def _clean_up(self) -> list[MachineFailure | OSError]:
        """Ends this guest's processes and unloads what `load` left; returns what failed."""
        failures: list[MachineFailure | OSError] = []
        # its own as well: a file that a test left open would keep the module in use
        for process in (*self._others, *self._callers):
            try:
                process.kill()
            except GuestHang as hang:
                failures.append(hang)
        self._others.clear()
        self._has_permanent |= any(module.is_permanent for module in self.modules)
        failures += unload_left(self.modules)
        self._modules.clear()
        return failures

    def scan_kmemleak(self) -> bool:
        """Has the kernel look for leaked memory, and tell in its log; False where it has no kmemleak.

        Takes about 5 s. Raises MachineFailure when kmemleak has switched itself off.
        """
        from kmod_harness.guest.kmemleak import scan  # lazy: few kernels have it

        return scan(self.machine, self.syscaller, self.kernel_log)

    def judge(self, since: int, expected: str = "") -> tuple[Splat, ...]:
        """Completes the kernel log and returns the splats behind a mark, less those of kind `expected`.

        Raises what ends the machine: KernelPanic, QemuDied, GuestHang.
        """
        self.kernel_log.sync(self.syscaller)
        splats = self.kernel_log.splats_since(since)
        return tuple(splat for splat in splats if not expected or splat.kind != expected)
