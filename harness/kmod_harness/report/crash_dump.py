"""A memory dump read with drgn: tasks, the stack at fault with its variables, the modules' globals."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmod_harness.errors import Misuse
from kmod_harness.kmod.elf.module import read_module
from kmod_harness.kmod.elf.split_debug import debug_file_of
from kmod_harness.kmod.symbols.symbolizer import load_drgn, source_root
from kmod_harness.machine.memory.packed import unpacked
from kmod_harness.report.bundle_files import bundle_object, damage_told
from kmod_harness.report.columns import wrapped

#: File names in a bundle; see bundle.py.
MEMORY, VMCOREINFO = "memory.elf.zst", "vmcoreinfo"
#: Characters shown of one value; a kernel object can have thousands of lines.
_MOST_CHARACTERS = 160
_MOST_FRAMES = 40


@dataclass(frozen=True)
class CrashDump:
    """The files of a memory dump.

    memory: compressed core file
    vmcoreinfo: notes about the kernel
    vmlinux: vmlinux of the dumped kernel
    modules: modules, with debug information
    """

    memory: Path
    vmcoreinfo: Path
    vmlinux: Path
    modules: tuple[Path, ...]


def crash_dump_in(bundle: Path, kept: Path | None = None) -> CrashDump:
    """Returns the dump in a bundle, or the dump of the same guest in the directory `kept`.

    Raises Misuse: not a bundle, no dump in it, its vmlinux gone.
    """
    if not (bundle / "verdict.json").is_file():
        raise Misuse(
            f"{bundle} is not a bundle: it has no verdict.json",
            advice="a failed run or test names its bundle in its report",
        )
    directory = kept or bundle
    if not (directory / MEMORY).is_file():
        raise Misuse(
            f"the bundle {bundle} holds no memory dump",
            advice="a panic or a hang leaves one; --dump asks for one of any failure",
        )
    about = bundle_object(bundle / "machine.json")
    with damage_told(bundle / "machine.json"):
        vmlinux = Path(about.get("vmlinux") or "")
    if not vmlinux.is_file():
        raise Misuse(
            f"the vmlinux of this dump is missing: {vmlinux}",
            advice="kmod-harness kernel build makes it again, if the configuration is the same",
        )
    modules = tuple(sorted(bundle.glob("modules/*.ko")))
    return CrashDump(directory / MEMORY, directory / VMCOREINFO, vmlinux, modules)


@contextlib.contextmanager
def open_crash_dump(dump: CrashDump) -> Iterator[Any]:
    """Gives a drgn.Program of the dump, with the symbols of vmlinux and of each module at its address.

    The symbols of a module's init section are among them while the kernel has it. The dump is decompressed
    into a temporary sparse file. Raises MissingTool, PackedFileDamaged, Misuse (drgn cannot read the dump or
    the debug information, or the vmlinux is of another build).
    """
    drgn = load_drgn()
    with unpacked(dump.memory, Path(tempfile.gettempdir())) as memory:
        program = drgn.Program(vmcoreinfo=dump.vmcoreinfo.read_bytes())
        _read(program, memory.fileno(), dump)
        try:
            yield program
        except Exception as error:
            # libdw's complaints come as plain Exceptions
            if type(error) is not Exception and not isinstance(error, drgn.BadDataError):
                raise
            raise Misuse(
                "debug information of the vmlinux or of a module in this bundle is damaged",
                evidence=str(error),
                advice="build or copy it again",
            ) from error


def _read(program: Any, memory: int, dump: CrashDump) -> None:
    drgn = load_drgn()
    try:
        program.set_core_dump(memory)
        modules = [read_module(path) for path in dump.modules]
        files = {module.name: [module.path, debug_file_of(module)] for module in modules}
        for module, _ in program.loaded_modules():
            if isinstance(module, drgn.MainModule):
                module.try_file(dump.vmlinux)
                if module.wants_debug_file():
                    raise Misuse(f"{dump.vmlinux} is not the vmlinux of this dump: its build-id differs")
        _load_modules(program, files)
    except (ValueError, LookupError, OSError, drgn.FaultError) as error:
        raise Misuse(f"drgn cannot read {dump.memory}", evidence=str(error)) from error


def _load_modules(program: Any, files: Mapping[str, Sequence[Path | None]]) -> None:
    from drgn.helpers.linux.module import for_each_module  # lazy

    for module in for_each_module(program):
        name = module.name.string_().decode(errors="replace")
        loaded = program.linux_kernel_loadable_module(module)
        # drgn knows only the core of a module: without its init, a stack would end at an init function
        init = getattr(module, "init_layout", None)
        if init is not None and init.base.value_():
            start = init.base.value_()
            loaded.address_ranges = [*loaded.address_ranges, (start, start + int(init.size))]
        for file in filter(None, files.get(name, ())):
            loaded.try_file(file)


def crash_report(program: Any, modules: Sequence[str], pid: int | None) -> Iterator[str]:
    """Yields the lines of the report, headings without indentation: the stack at fault, globals, all tasks.

    `pid` is the task at fault, where the verdict names one.
    """
    thread = _thread(program, pid)
    if thread is not None:
        yield f"Stack of {_name(thread)}"
        yield from _stack(program, thread)
        yield ""
    for name in modules:
        yield f"Globals of {name}"
        yield from _globals(program, name)
        yield ""
    yield "Tasks"
    yield from _tasks(program)


def _tasks(program: Any) -> Iterator[str]:
    from drgn.helpers.linux.pid import for_each_task  # lazy
    from drgn.helpers.linux.sched import task_state_to_char  # lazy

    for task in for_each_task(program):
        kind = "" if task.mm else " [kernel]"
        yield f"  {task.pid.value_():6} {task_state_to_char(task)} {_comm(task)}{kind}"


def _thread(program: Any, pid: int | None) -> Any:
    """Returns the task_struct at fault: of the panicking CPU, else of `pid`, else of CPU 0."""
    from drgn.helpers.linux.pid import find_task  # lazy
    from drgn.helpers.linux.sched import cpu_curr  # lazy

    try:
        return program.crashed_thread().object
    except (LookupError, ValueError):
        task = find_task(program, pid) if pid is not None else None
        return task if task else cpu_curr(program, 0)


def _stack(program: Any, task: Any) -> Iterator[str]:
    root = source_root(program)
    for index, frame in enumerate(program.stack_trace(task)):
        if index == _MOST_FRAMES or not _in_kernel(frame):
            return
        try:
            path, line, _ = frame.source()
            place = f"at {path.removeprefix(root)}:{line}"
        except LookupError:
            place = ""
        # a path that has no room stands on a line of its own, whole
        yield from wrapped(f"#{index} {frame.name} {place}".rstrip(), indent="  ", further="      ")
        for name in frame.locals():
            value = frame[name]
            if not value.absent_:
                yield from _assigned(name, value, "       ")


def _in_kernel(frame: Any) -> bool:
    try:
        return bool(frame.pc >> 63)
    except LookupError:
        return False


def _globals(program: Any, module: str) -> Iterator[str]:
    """Yields the variables of a module, found by its symbol table."""
    loaded = next((found for found in program.modules() if found.name == module), None)
    ranges = loaded.address_ranges if loaded is not None else ()
    if not ranges:
        yield "  (not loaded in this dump)"
        return
    for symbol in sorted(program.symbols(), key=lambda symbol: symbol.name):
        inside = any(start <= symbol.address < end for start, end in ranges)
        if not inside or symbol.kind.name != "OBJECT" or symbol.name.startswith(("_", ".L")):
            continue
        try:
            yield from _assigned(symbol.name, program.variable(symbol.name), "  ")
        except LookupError:
            continue


def _assigned(name: str, value: Any, indent: str) -> Iterator[str]:
    yield from wrapped(f"{name} = {_short(value)}", indent=indent, further=f"{indent}    ")


def _short(value: Any) -> str:
    try:
        text = value.format_(
            dereference=False,
            member_type_names=False,
            symbolize=True,
            columns=1_000_000,
            members_same_line=True,
        )
    except Exception as error:  # the memory is a broken kernel's: any failure is shown as the value
        return f"({type(error).__name__}: {error})"
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."


def _comm(task: Any) -> str:
    return "".join(
        letter if letter.isprintable() else "?" for letter in task.comm.string_().decode(errors="replace")
    )


def _name(task: Any) -> str:
    return f"{_comm(task)} (pid {task.pid.value_()})"
