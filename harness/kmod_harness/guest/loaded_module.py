"""Loading a module: finit_module once, its errno, the kernel's reason, what came of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from kmod_harness.errors import GuestHang, MachineFailure, ModuleLoadError, ModuleMismatch, ProcessKilled
from kmod_harness.guest.agent.calls import c_path, check, os_error
from kmod_harness.guest.agent.protocol import CHUNK, Call, OutUpToResult, ResultOf
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.agent.syscalls import AT_FDCWD
from kmod_harness.guest.files.no_room import raise_if_no_room
from kmod_harness.guest.files.proc_files import calls_that_read, content
from kmod_harness.guest.process import Process
from kmod_harness.kmod.loading.parameters import Parameter, format_parameters
from kmod_harness.kmod.loading.permanent import has_no_exit
from kmod_harness.kmod.loading.refusal import error_name, refusal_advice

if TYPE_CHECKING:
    from kmod_harness.guest.kernel_log import KernelLog
    from kmod_harness.kmod.elf.module import KernelModule
    from kmod_harness.kmod.mismatches import Mismatch
    from kmod_harness.machine.machine import Machine

#: Where loaded files lie in the guest.
DIRECTORY = "/kmod-harness/loaded"
_PROC_MODULES = "/proc/modules"
_SYMBOLS = (".symtab", ".strtab")
#: A file lies in the guest's memory, and the kernel reads it into as much again.
_LARGE_BYTES = 16 << 20


class ModuleOwner(Protocol):
    """The guest that a module is loaded in, as far as the module needs it."""

    machine: Machine
    kernel_log: KernelLog

    @property
    def syscaller(self) -> Process: ...

    def read_text(self, path: str) -> str: ...

    def _note_unloaded(self, module: LoadedModule) -> None: ...


class LoadedModule:
    """A module in the guest's kernel; a context manager that unloads it.

    address, size: of its core in bytes, as /proc/modules shows them. sections:
    name -> address, from sysfs. file: what the .ko says. taint: its letters.
    load_seconds: how long finit_module took, seen from here.
    """

    def __init__(self, guest: ModuleOwner, file: KernelModule) -> None:
        self._guest = guest
        self.file = file
        self.name = file.name
        fields, self.sections = self._look()
        if fields is None:
            raise ModuleLoadError(f"{self.name} was loaded, but /proc/modules does not list it", errno.ENOENT)
        self.size = int(fields[1])
        self.address = int(fields[5], 16)
        self.taint = fields[6].strip("()") if len(fields) > 6 else ""
        self.load_seconds = 0.0
        #: False for one that another needed
        self._is_given = True

    def __repr__(self) -> str:
        return f"<LoadedModule {self.name}: {self.size} bytes at {self.address:#x}>"

    def __enter__(self) -> LoadedModule:
        return self

    def __exit__(self, *exc: object) -> None:
        # without an exit function it stays, as the kernel means it to
        if not self._guest.machine.watch.has_ended and not self.is_permanent:
            try:
                self.unload()
            except FileNotFoundError:
                # a test unloaded it another way
                self._guest._note_unloaded(self)
            except BlockingIOError as error:
                self._name_users(error)
                raise

    def _name_users(self, error: OSError) -> None:
        """Notes on the error who holds the module."""
        from kmod_harness.guest.programs.holders import holders_of, other_users  # lazy: it is rarely in use

        process = self._guest.syscaller
        for line in (*map(str, holders_of(process)), *other_users(process, self.name)):
            error.add_note(line)

    @property
    def state(self) -> str:
        """Live, Loading, Unloading, or "" when it is gone."""
        fields = self._proc_line()
        return fields[4] if fields else ""

    @property
    def is_loaded(self) -> bool:
        return self._proc_line() is not None

    @property
    def is_permanent(self) -> bool:
        """Whether it has an init and no exit: the kernel never unloads it (delete_module, 6.1)."""
        return has_no_exit(self.file)

    @property
    def refcnt(self) -> int:
        """How many users hold it now. Raises OSError when it is gone."""
        return int(self._guest.read_text(f"/sys/module/{self.name}/refcnt"))

    def symbol(self, name: str) -> int:
        """Returns the address of one of its symbols: its section's address plus the ELF value.

        Raises KeyError: no such symbol, or its section was freed after init.
        """
        for symbol in self.file.symbols:
            if symbol.name == name and symbol.section in self.sections:
                return self.sections[symbol.section] + symbol.value
        raise KeyError(f"{self.name} has no symbol {name} in a section that is in memory")

    def unload(self, *, timeout: float | None = None) -> None:
        """delete_module(2) without waiting. Raises OSError: EAGAIN while it is in use, EBUSY, ENOENT."""
        result = self._guest.syscaller.syscall(
            NUMBERS["delete_module"], c_path(self.name), os.O_NONBLOCK, timeout=timeout
        )
        if result.errno:
            raise os_error(result.errno, self.name)
        self._guest._note_unloaded(self)

    def _proc_line(self) -> list[str] | None:
        return self._line_in(self._guest.syscaller.read_proc(_PROC_MODULES))

    def _line_in(self, listing: bytes) -> list[str] | None:
        for line in listing.decode(errors="replace").splitlines():
            fields = line.split()
            if fields and fields[0] == self.name:
                return fields
        return None

    def _look(self) -> tuple[list[str] | None, dict[str, int]]:
        """Returns its line of /proc/modules, and its sections' addresses from sysfs, in one round trip.

        The kernel shows a section that takes memory, the symbol table and its strings included
        (kernel/module/sysfs.c, add_sect_attrs, 6.1); {} where sysfs shows none.
        """
        calls = calls_that_read(_PROC_MODULES)
        ends = len(calls)
        shown = [section for section in self.file.sections if section.allocated or section.name in _SYMBOLS]
        names = sorted({section.name for section in shown if section.size})
        path = c_path(f"/sys/module/{self.name}/sections")
        directory = ResultOf(len(calls))
        calls.append(Call(NUMBERS["openat"], (AT_FDCWD, path, os.O_RDONLY | os.O_DIRECTORY, 0)))
        for name in names:
            opened = ResultOf(len(calls))
            calls.append(Call(NUMBERS["openat"], (directory, c_path(name), os.O_RDONLY, 0)))
            calls.append(Call(NUMBERS["read"], (opened, OutUpToResult(64), 64)))
            calls.append(Call(NUMBERS["close"], (opened,)))
        calls.append(Call(NUMBERS["close"], (directory,)))
        results = self._guest.syscaller.batch(calls)
        listing, complete = content(results[:ends], _PROC_MODULES)
        texts = [result.buffers[0] for result in results[ends + 2 : -1 : 3]]
        sections = {name: int(text, 16) for name, text in zip(names, texts, strict=True) if text.strip()}
        return self._line_in(listing) if complete else self._proc_line(), sections


def load(
    guest: ModuleOwner,
    file: KernelModule,
    data: bytes,
    parameters: Mapping[str, Parameter],
    *,
    process: Process | None = None,
    timeout: float | None = None,
) -> LoadedModule:
    """Pushes the module's bytes and calls finit_module(2) once, in `process`.

    Raises ModuleLoadError with the guest's errno and the log lines that explain
    it; KernelOops and its like when init brought the process down.
    """
    process = process or guest.syscaller
    path = f"{DIRECTORY}/{file.name}.ko"
    try:
        _push(guest.syscaller, path, data)
    except OSError as error:
        raise_if_no_room(error, f"{file.name}.ko", len(data), guest.machine.spec.memory_mib)
        raise
    mark = guest.kernel_log.mark()
    try:
        words = os.fsencode(format_parameters(parameters)) + b"\0"
        opened, result, _ = process.begin(
            [
                Call(NUMBERS["openat"], (AT_FDCWD, c_path(path), os.O_RDONLY, 0)),
                Call(NUMBERS["finit_module"], (ResultOf(0), words, 0)),
                Call(NUMBERS["close"], (ResultOf(0),)),
            ]
        ).results(timeout)
        check(opened, path)
    except ProcessKilled as killed:
        guest.kernel_log.sync(guest.syscaller)
        from kmod_harness.klog.outcome import error_for  # lazy

        splats = guest.kernel_log.splats_since(mark)
        if splats:
            raise error_for(splats[0]) from killed
        raise
    if result.errno:
        guest.kernel_log.sync(guest.syscaller)
        log = guest.kernel_log.text_since(mark)
        names = (line.partition(" ")[0] for line in guest.read_text(_PROC_MODULES).splitlines())
        raise ModuleLoadError(
            f"loading {file.name} failed: {error_name(result.errno)}",
            result.errno,
            evidence=log or "the kernel log says nothing about it",
            advice=refusal_advice(result.errno, log, is_listed=file.name in names, is_signed=file.signed),
        )
    return LoadedModule(guest, file)


def file_for_guest(file: KernelModule) -> bytes:
    """Returns the bytes to load: of a large file without debug information, which would fill the guest."""
    if len(file.data) < _LARGE_BYTES:
        return file.data
    from kmod_harness.kmod.elf.without_debug import without_debug  # lazy: few are so large

    return without_debug(file)


def _push(process: Process, path: str, data: bytes) -> None:
    """Writes a file in the guest, in one round trip for a module of usual size. Raises OSError."""
    opened = ResultOf(0)
    size = min(len(data), CHUNK)
    put = [
        Call(NUMBERS["openat"], (AT_FDCWD, c_path(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)),
        Call(NUMBERS["write"], (opened, data[:size], size)),
        Call(NUMBERS["close"], (opened,)),
    ]
    results = process.batch(put)
    if results[0].errno == errno.ENOENT:
        process.make_directories([os.path.dirname(DIRECTORY), DIRECTORY])
        results = process.batch(put)
    check(results[0], path)
    written = check(results[1], path).value
    if written < len(data):
        with process.open(path, os.O_WRONLY | os.O_APPEND) as file:
            file.write_all(data[written:])


def refuse(file: KernelModule, mismatches: Sequence[Mismatch], *, kernel: str) -> None:
    """Raises ModuleMismatch when a mismatch is fatal: the kernel of that name would refuse the module."""
    fatal = [mismatch for mismatch in mismatches if mismatch.fatal]
    if fatal:
        from kmod_harness.kmod.preflight import advice_for  # lazy

        raise ModuleMismatch(
            f"this kernel would refuse {file.path.name}",
            evidence="\n".join(map(str, mismatches)),
            advice=f"{advice_for(fatal, file, kernel)}"
            "\n-> load(..., force=True) shows the kernel's own answer",
        )


def unload_left(modules: Sequence[LoadedModule]) -> list[MachineFailure | OSError]:
    """Unloads what a test left loaded, the last first; returns what failed.

    A module without an exit function stays.
    """
    failures: list[MachineFailure | OSError] = []
    for module in reversed(modules):
        if module.is_permanent:
            continue
        try:
            module.unload()
        except (OSError, ProcessKilled, GuestHang) as error:
            if isinstance(error, BlockingIOError):
                module._name_users(error)
            # one that was loaded besides is nobody's to test
            failures += [error] if module._is_given else []
    return failures
