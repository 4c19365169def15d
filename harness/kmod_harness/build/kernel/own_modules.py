"""The modules that a kernel comes with, read from its files; depmod need not have run."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

from kmod_harness.build.cached_from_files import cached_from_files
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.kmod.elf.module import read_modinfo
from kmod_harness.kmod.loading.depmod_files import (
    files_in,
    module_name,
    parse_aliases,
    parse_builtin,
    parse_builtin_modinfo,
    parse_dep,
    parse_softdeps,
)
from kmod_harness.kmod.loading.names import Alias
from kmod_harness.kmod.loading.own_modules import OwnModules
from kmod_harness.kmod.symbols.symbol_files import parse_module_symvers

_SUFFIXES = ("", ".xz", ".gz", ".zst")


def own_modules(kernel: Kernel) -> OwnModules:
    """Returns the kernel's own modules; what is large is read when it is first asked for."""
    directory = kernel.modules_dir
    name = kernel.release
    if directory is None:
        return OwnModules(kernel=name, built_in=built_in_modules(kernel))
    needs = parse_dep(_text(directory / "modules.dep"))
    files = files_in(directory, needs) if needs else module_files(directory)
    return OwnModules(
        kernel=name,
        directory=directory,
        files=files,
        depends={
            module_name(file): tuple(module_name(other) for other in needed) for file, needed in needs.items()
        },
        softdeps=parse_softdeps(_text(directory / "modules.softdep")),
        built_in=built_in_modules(kernel),
        aliases=functools.cache(lambda: _aliases(directory, files)),
        exporters=functools.cache(lambda: _exporters(kernel)),
    )


def module_files(modules_dir: Path) -> dict[str, Path]:
    """Returns module -> path of a kernel's own modules, by kbuild's `modules.order`; depmod is not needed."""
    try:
        lines = (modules_dir / "modules.order").read_text().split()
    except OSError:
        return {}
    found = ((module_name(line), _file_of(str(modules_dir), line)) for line in lines)
    return {name: Path(path) for name, path in found if path}


def _file_of(modules_dir: str, line: str) -> str:
    """Returns the file of a line of modules.order, "" without one; no Path, for there are thousands."""
    # An installed tree lists kernel/..., the build tree (6.1) too or (6.2 on) .o files of itself.
    whole = f"{os.path.splitext(line)[0]}.ko"
    candidates = (
        f"{modules_dir}/{relative}{suffix}"
        for relative in (whole, whole.partition("/")[2])
        for suffix in _SUFFIXES
    )
    return next((path for path in candidates if os.path.isfile(path)), "")


def lists_of_built_in(kernel: Kernel) -> list[Path]:
    """Returns the files that list the kernel's built-in modules, the best first."""
    directories = (kernel.modules_dir, kernel.build_dir)
    lists = [directory / "modules.builtin" for directory in directories if directory is not None]
    return [path for path in lists if path.is_file()]


def built_in_modules(kernel: Kernel) -> frozenset[str]:
    """Returns the names of the modules that are part of the image; none where that is not known."""
    for path in lists_of_built_in(kernel):
        if found := parse_builtin(path.read_text()):
            return found
    return frozenset()


def _aliases(directory: Path, files: Mapping[str, Path]) -> tuple[Alias, ...]:
    """Returns the aliases by depmod's file, or else by each module's own .modinfo (a second, once)."""
    built_in = parse_builtin_modinfo(_bytes(directory / "modules.builtin.modinfo"))
    listed = parse_aliases(_text(directory / "modules.alias"))
    if listed or not files:
        return (*built_in, *listed)
    found: list[list[str]] = cached_from_files(
        "aliases-1", [directory / "modules.order"], lambda: _aliases_by_modinfo(files)
    )
    return (*built_in, *(Alias(pattern, module) for pattern, module in found))


def _aliases_by_modinfo(files: Mapping[str, Path]) -> list[list[str]]:
    return [
        [value, name] for name, path in files.items() for tag, value in read_modinfo(path) if tag == "alias"
    ]


def _exporters(kernel: Kernel) -> dict[str, str]:
    symvers = kernel.symvers
    if symvers is None:
        return {}

    def read() -> dict[str, str]:
        entries = parse_module_symvers(symvers.read_text())
        return {entry.name: module_name(entry.provider) for entry in entries if entry.provider != "vmlinux"}

    return cached_from_files("exporters-1", [symvers], read)


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", "replace")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
