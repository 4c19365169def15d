"""From `function+offset/size [module]` to source lines, inlined frames included, by DWARF (drgn).

drgn reads a vmlinux of 200 MB without an index: the first answer takes a quarter of a second, each further
one less than a millisecond. The sections of a module are laid out at addresses that do not overlap, so that a
function in `.init.text`, `.exit.text` or `.text.unlikely` is found like any other, without a guest.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmod_harness.errors import MissingTool
from kmod_harness.kmod.addresses import KERNEL_IMAGE_BASE, KERNEL_IMAGE_END, MODULES_BASE_RANDOMIZED
from kmod_harness.kmod.elf.compile_directory import compile_directory
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.elf.split_debug import debug_file_of

#: Bytes by which a function's size in kallsyms (the distance to the next symbol) may exceed its size in ELF,
#: through alignment and the padding at a section's end.
_PADDING = 4096
#: The file of start_kernel().
_KNOWN_SOURCE = "init/main.c"


@dataclass(frozen=True)
class SourceLine:
    """A place in the sources.

    function: name of the function
    path: path as the compiler wrote it
    line: number from 1, 0 when unknown
    column: number from 1, 0 when unknown
    """

    function: str
    path: str
    line: int
    column: int = 0


class Symbolizer:
    """The source lines of addresses in one kernel and in modules; needs drgn.

    `vmlinux` has DWARF, None for modules alone. `modules` are those whose frames may come; of a module
    without debug information no line is known, nor of one whose debug information is damaged: `unreadable`
    says how, by the module's name ("" for the kernel). Raises MissingTool.
    """

    def __init__(self, vmlinux: Path | None, modules: Iterable[KernelModule] = ()) -> None:
        self._vmlinux = vmlinux
        self._modules = {module.name: module for module in modules}
        self.unreadable: dict[str, str] = {}
        self._programs: dict[str, Any] = {}
        self._directories: dict[str, str] = {}
        self._drgn = load_drgn()

    def lines(
        self, function: str, offset: int, size: int | None = None, module: str = "", *, returns: bool = True
    ) -> tuple[SourceLine, ...]:
        """Returns the lines of `function+offset/size [module]`, the innermost inlined function first.

        function: name of the function
        offset: bytes from its start
        size: bytes of the function as the kernel prints it, which distinguishes functions of one name; None
            when unknown
        module: name of the module, "" for the kernel
        returns: True when the offset is a return address: the line is then that of the call before it

        Returns () when no line is known.
        """
        program = self._program(module)
        if program is None:
            return ()
        with self._damage_noted(module):
            address = _address(program.symbols(function), offset, size)
            if address is not None:
                return self._lines(module, address - (1 if returns and offset else 0), function)
        return ()

    def lines_at(self, module: str, section: str, offset: int) -> tuple[SourceLine, ...]:
        """Returns the lines of the instruction `offset` bytes into a module's section, as `lines` does."""
        if self._program(module) is None:
            return ()
        address = addresses_apart(self._modules[module])[0].get(section)
        with self._damage_noted(module):
            return self._lines(module, address + offset, section) if address is not None else ()
        return ()

    def source_root(self) -> str:
        """Returns the common start of the paths of the kernel's sources, "" when it is not known."""
        program = self._program("")
        return source_root(program) if program is not None else ""

    def code(self, function: str, module: str) -> bytes:
        """Returns a module function's bytes as its file holds them, b"" when they are not known.

        They are not relocated: operands of calls and of references to other sections are zero.
        """
        found = self._modules.get(module)
        for symbol in found.symbols if found else ():
            section = found.section(symbol.section) if found and symbol.section else None
            if found and symbol.name == function and section is not None and symbol.size:
                start = section.offset + symbol.value
                return found.data[start : start + symbol.size]
        return b""

    def _lines(self, module: str, address: int, function: str) -> tuple[SourceLine, ...]:
        """Returns the lines of an address; `function` names those that DWARF does not: padding, assembly."""
        try:
            found = self._program(module).source_location(address)
        except LookupError:
            return ()
        return tuple(
            SourceLine(place.name() or function, self._path(module, place.filename), place.line, place.column)
            for place in found
        )

    def _path(self, module: str, path: str) -> str:
        """Returns an absolute path of a source where its module says what it is relative to."""
        if os.path.isabs(path) or module not in self._modules:
            return path
        if module not in self._directories:
            self._directories[module] = compile_directory(self._modules[module].data)
        return os.path.join(self._directories[module], path)

    def _program(self, module: str) -> Any:
        if module not in self._programs:
            self._programs[module] = None
            with self._damage_noted(module):
                self._programs[module] = self._open(module)
        return self._programs[module]

    @contextlib.contextmanager
    def _damage_noted(self, module: str) -> Iterator[None]:
        """Notes what drgn says of damaged debug information; it is asked no more about that file."""
        try:
            yield
        except Exception as error:
            # libdw's complaints come as plain Exceptions
            if type(error) is not Exception and not isinstance(error, self._drgn.BadDataError):
                raise
            self.unreadable[module] = str(error)
            self._programs[module] = None

    def _open(self, name: str) -> Any:
        """Returns a drgn Program of one object file, so that names of other files cannot be found."""
        program = self._drgn.Program(self._drgn.host_platform)
        if not name:
            if self._vmlinux is None:
                return None
            loaded = program.extra_module("vmlinux", 0, create=True)
            loaded.address_ranges = [(KERNEL_IMAGE_BASE, KERNEL_IMAGE_END)]
            loaded.try_file(self._vmlinux, force=True)
            return program
        module = self._modules.get(name)
        if module is None:
            return None
        split = debug_file_of(module)
        if split is None and not module.has_debug_info:
            return None
        sections, end = addresses_apart(module)
        loaded = program.relocatable_module(name, MODULES_BASE_RANDOMIZED, create=True)
        loaded.section_addresses.update(sections)
        loaded.address_ranges = [(MODULES_BASE_RANDOMIZED, end)]
        # the bytes that were read: the file may be compressed, or built anew since
        file = os.memfd_create(name)
        with os.fdopen(os.dup(file), "wb") as out:
            out.write(module.data)
        loaded.try_file(module.path, fd=file, force=True)
        if split is not None:
            loaded.try_file(split, force=True)
        return program


def addresses_apart(module: KernelModule) -> tuple[Mapping[str, int], int]:
    """Returns section name -> an address for each allocated section, none overlapping, and their end."""
    addresses: dict[str, int] = {}
    end = MODULES_BASE_RANDOMIZED
    for section in module.sections:
        if section.allocated:
            alignment = max(section.alignment, 1)
            addresses[section.name] = (end + alignment - 1) // alignment * alignment
            end = addresses[section.name] + section.size
    return addresses, end


def _address(symbols: Iterable[Any], offset: int, size: int | None) -> int | None:
    """Returns the address in the function whose size the kernel would print so, None without one."""
    if size is None:
        # assembly's symbols often have no size in ELF
        fitting = [symbol for symbol in symbols if symbol.size == 0 or offset <= symbol.size]
    else:
        # an old word on the stack may point behind the padding, at the start of the next function
        fitting = [symbol for symbol in symbols if offset <= size and 0 <= size - symbol.size < _PADDING]
        fitting.sort(key=lambda symbol: int(size) - symbol.size)
    return int(fitting[0].address) + offset if fitting else None


def source_root(program: Any) -> str:
    """Returns the common start of the paths of a kernel's sources, by its drgn Program; "" when not known."""
    try:
        path: str = program.source_location("start_kernel")[-1].filename
    except LookupError:
        return ""
    return path.removesuffix(_KNOWN_SOURCE) if path.endswith(_KNOWN_SOURCE) else ""


def load_drgn() -> Any:
    """Returns the module drgn. Raises MissingTool."""
    try:
        import drgn  # lazy
    except ImportError as error:
        raise MissingTool(
            "drgn, which gives the source lines of addresses, is not installed",
            evidence=str(error),
            advice="pip install drgn",
        ) from error
    return drgn
