"""Modules built in one way, where they lie or in a copy: commands run, and the .ko files they made."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from kmod_harness.build.kernel.kbuild import jobs, refuse_odd_path, run_build
from kmod_harness.build.llvm import llvm_words
from kmod_harness.build.required_tools import require_tools
from kmod_harness.build.ways.dkms_conf import FILE, DkmsConf
from kmod_harness.build.ways.way import Dkms, ForKernel, Kbuild, OwnMakefile, Way
from kmod_harness.errors import BuildFailed, ModuleFileError
from kmod_harness.kmod.elf.module import read_module

#: Given by the linker and by the module itself (6.1 scripts/mod/modpost.c, ignore_undef_symbol).
_GIVEN = ("_GLOBAL_OFFSET_TABLE_", "__this_module")
_UNDEFINED = re.compile(r'ERROR: modpost: "\w+" \[(\S+)\] undefined!')
#: make's, of an object that did not compile; its path is absolute, from 6.13 on relative to the directory.
_NOT_COMPILED = re.compile(r"\*\*\* \[[^\]\s]+: (\S+\.o)\] Error")
#: What the compiler said of a configure script's trial, as the script keeps it in config.log.
_TRIAL = re.compile(r"error: (#error .*)")


def build_way(
    way: Way, place: Path, kernel: ForKernel, log: Path, settings: Sequence[str] = ()
) -> tuple[Path, ...]:
    """Builds modules in `place`, their directory or a copy of it; returns the .ko files, sorted.

    settings: `NAME=value` for make. `log` receives the output. Raises BuildFailed, Misuse for a path that
    kbuild cannot build in, MissingTool.
    """
    refuse_odd_path(place, advice="move it, or build a copy: kmod-harness modules DIR --out DIR")
    start, started = log.stat().st_size if log.exists() else 0, time.time()
    settings = [*llvm_words(kernel.config), *settings]
    try:
        return _built(way, place, kernel, log, settings)
    except BuildFailed as failure:
        output = log.read_bytes()[start:].decode(errors="replace")
        if isinstance(way, Kbuild):
            failure.built = _built_beside(output, way, place, kernel, settings)
        with log.open("a") as file:
            file.writelines(f"config.log: {line}\n" for line in _failed_trials(place, started))
        raise


def _built_beside(
    output: str, way: Kbuild, place: Path, kernel: ForKernel, settings: Sequence[str]
) -> tuple[Path, ...]:
    """Returns the modules that can be loaded, where others failed; removes what misses a symbol.

    modpost links none where one misses a symbol, and names ten symbols at most (6.1 scripts/mod/modpost.c);
    asked to go on, it links all. Where one is not compiled, kbuild does not come to modpost.
    """
    named = {place / match[1] for match in _UNDEFINED.finditer(output)}

    def build(*words: str) -> str:
        with tempfile.TemporaryDirectory() as scratch:
            log = Path(scratch) / "log"
            command = _kbuild(way, place, kernel, [*settings, *words])
            with contextlib.suppress(BuildFailed):
                run_build(command, log=log, what="", environment={"PWD": str(place)}, directory=place)
            return log.read_text(errors="replace")

    targets = ["modules"] if named else _compiled(place, build("--keep-going", "modules"))
    if not targets:
        return ()
    started = time.time()
    build("KBUILD_MODPOST_WARN=1", *targets)
    linked = [path for path in built_by(way, place) if path.is_file() and path.stat().st_mtime >= started]
    exported = {name for file in (kernel.build_dir, place) for name in _exports(file / "Module.symvers")}
    unloadable = {path for path in linked if path in named or _misses(path, exported)}
    for path in unloadable:
        path.unlink(missing_ok=True)
    return tuple(path for path in linked if path not in unloadable)


def _compiled(place: Path, output: str) -> list[str]:
    """Returns the modules of which every part compiled, as targets of make: NAME.ko, relative to `place`.

    output: of a make that went on after errors
    """
    failed = {place / match[1] for match in _NOT_COMPILED.finditer(output)}
    found = []
    # kbuild writes the objects of each module into NAME.mod, before it compiles them
    for listing in sorted(path for path in _files(place) if path.suffix == ".mod"):
        whole = listing.with_suffix(".o")
        parts = {place / word for word in listing.read_text().split() if word.endswith(".o")}
        if whole.is_file() and not failed & {whole, *parts}:
            found.append(str(listing.relative_to(place).with_suffix(".ko")))
    return found


def _failed_trials(place: Path, started: float) -> list[str]:
    """Returns the #error lines of a configure script's trials: options that the kernel lacks are such."""
    logs = [path for path in _files(place) if path.name == "config.log" and path.stat().st_mtime >= started]
    lines = (line for log in logs for line in log.read_text(errors="replace").splitlines())
    return list(dict.fromkeys(match[1] for line in lines if (match := _TRIAL.search(line))))


def _exports(symvers: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        yield from (line.split("\t")[1] for line in symvers.read_text().splitlines() if "\t" in line)


def _misses(path: Path, exported: set[str]) -> bool:
    with contextlib.suppress(ModuleFileError):
        needed = (symbol.name for symbol in read_module(path).undefined if not symbol.weak)
        return any(name not in exported and name not in _GIVEN for name in needed)
    return False


def _built(way: Way, place: Path, kernel: ForKernel, log: Path, settings: Sequence[str]) -> tuple[Path, ...]:
    started = time.time()
    for command, may_fail in _commands(way, place, kernel, settings):
        try:
            run_build(
                command,
                log=log,
                what=f"building the modules in {way.directory}",
                environment=_environment(way, place, kernel, settings),
                directory=place,
            )
        except BuildFailed:
            if not may_fail:
                raise
    built = built_by(way, place, started)
    missing = (
        [path for path in way.conf.modules if place / path not in built] if isinstance(way, Dkms) else []
    )
    if missing:
        raise BuildFailed(
            f"{way.directory} was built, but not {', '.join(map(str, missing))}, which its {FILE} names",
            advice=f"the whole log: {log}",
        )
    if not built:
        raise BuildFailed(
            f"{way.said} built no module in {way.directory}",
            advice="its Makefile or Kbuild names modules as `obj-m := NAME.o`",
        )
    return built


def built_by(way: Way, place: Path, started: float = float("inf")) -> tuple[Path, ...]:
    """Returns the .ko files that this way has built in `place`, sorted; `started`: when the build began."""
    if isinstance(way, Dkms):
        found = {place / path for path in way.conf.modules if (place / path).is_file()}
    elif isinstance(way, Kbuild):
        found = set(_listed(place))
    else:
        # kbuild may have run in any directory below, and the Makefile may have moved what it made
        orders = [path.parent for path in _files(place) if path.name == "modules.order"]
        found = {ko for directory in orders for ko in _listed(directory) if ko.is_file()}
        found |= {path for path in _files(place) if path.suffix == ".ko" and path.stat().st_mtime >= started}
    return tuple(sorted(found))


def _listed(directory: Path) -> Iterator[Path]:
    """Yields the .ko files that kbuild listed at its last build; none before the first."""
    # One line a module: its .ko (6.1), or its .o (from 6.2), absolute or relative to the directory.
    try:
        order = (directory / "modules.order").read_text().split()
    except OSError:
        return
    yield from ((directory / line).with_suffix(".ko") for line in order)


def _files(directory: Path) -> Iterator[Path]:
    for parent, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if not name.startswith(".")]
        yield from (Path(parent, name) for name in files)


def _commands(
    way: Way, place: Path, kernel: ForKernel, settings: Sequence[str]
) -> Iterator[tuple[list[str], bool]]:
    """Yields the commands to run in `place`, with whether each may fail."""
    if isinstance(way, Kbuild):
        yield _kbuild(way, place, kernel, [*settings, "modules"]), False
    elif isinstance(way, OwnMakefile):
        given = [*way.variables.settings(kernel.build_dir, kernel.release), *settings]
        yield ["make", jobs(), *given, *([way.target] if way.target else [])], False
    else:
        yield from _dkms_commands(
            way.conf.in_place(place, kernel.build_dir, kernel.release), place != way.directory, kernel.release
        )


def _kbuild(way: Kbuild, place: Path, kernel: ForKernel, words: Sequence[str]) -> list[str]:
    return ["make", "-C", str(kernel.build_dir), f"M={place}", jobs(), *way.settings, *words]


def _dkms_commands(conf: DkmsConf, is_copy: bool, release: str) -> Iterator[tuple[list[str], bool]]:
    """Yields what dkms 3.0 runs: patches, PRE_BUILD, CLEAN (in a copy alone), MAKE."""
    if conf.patches:
        require_tools({"patch": "patch"})
    for patch in conf.patches:
        yield ["patch", "-p1", "--batch", "-i", f"patches/{patch}"], False
    if conf.pre_build:
        yield ["bash", "-c", f"./{conf.pre_build.removeprefix('./')}"], False
    if is_copy:
        yield ["bash", "-c", conf.clean], True
    make = conf.make.removeprefix("make")
    own = f"make {jobs()} KERNELRELEASE={release}{make}" if make != conf.make else make
    yield ["bash", "-c", own], False


def _environment(way: Way, place: Path, kernel: ForKernel, settings: Sequence[str]) -> dict[str, str]:
    # as after `cd`: Makefiles ask for $(PWD)
    environment = {"PWD": str(place)}
    if isinstance(way, Dkms):
        given = [*way.variables.settings(kernel.build_dir, kernel.release), *settings]
        # to every make that its commands call, as if typed on their command lines
        environment["MAKEFLAGS"] = " ".join(map(_as_flag, given))
    return environment


def _as_flag(setting: str) -> str:
    return setting.replace("\\", "\\\\").replace(" ", "\\ ").replace("$", "$$")
