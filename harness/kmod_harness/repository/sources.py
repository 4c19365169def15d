"""A directory looked through for modules: its Makefiles, the .ko files in it, what its sources register."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.repository.makefile import read_makefile

#: kbuild reads the first of these (6.1 scripts/Makefile.build).
_MAKEFILES = ("Kbuild", "Makefile")
_DEPTH = 4
#: files that every failure's bundle has (report/bundle.py)
_BUNDLE = ("verdict.json", "machine.json", "reproduce.sh")
_SKIPPED = ("node_modules", "__pycache__", "build", "dist", "venv")
#: Functions that have devtmpfs make a node when they are called (6.1 drivers/base/core.c, device_add).
_NODE_MAKERS = re.compile(
    rb"\b(misc_register|module_misc_device|device_create\w*|cdev_device_add|(?:device_)?add_disk)\s*\("
)


@dataclass(frozen=True)
class FoundModule:
    """A module: its .ko below the directory, the Makefile that names it, and what is known of it.

    configs: CONFIG_ symbols that have to be `m`. makes_node: whether its sources call something that makes a
    device node.
    """

    ko: Path
    makefile: Path
    configs: tuple[str, ...]
    makes_node: bool

    @property
    def name(self) -> str:
        """Its name in the kernel."""
        return self.ko.stem.replace("-", "_")


@dataclass(frozen=True)
class Unclear:
    """A line of a Makefile whose modules cannot be known without running make."""

    makefile: Path
    line: str


@dataclass(frozen=True)
class Found:
    """The files of a directory; all paths are relative to it.

    kbuild: directories to build, each with all below it that its Makefile names. lying: .ko files that lie
    there and no Makefile names.
    """

    kbuild: tuple[Path, ...]
    modules: tuple[FoundModule, ...]
    unclear: tuple[Unclear, ...]
    lying: tuple[Path, ...]


def look_through(directory: Path) -> Found:
    """Return the modules of a directory: of its own Makefile, else of the ones nearest below it."""
    roots: list[Path] = []
    modules: dict[Path, FoundModule] = {}
    unclear: list[Unclear] = []
    # of Makefiles that name no module: of programs, say
    others: list[Unclear] = []
    for below in _directories(directory):
        if any(below.is_relative_to(root) for root in roots):
            continue
        found = _Reading(directory)
        found.read(below)
        if found.modules:
            roots.append(below)
            modules |= {module.ko: module for module in found.modules}
        (unclear if found.modules else others).extend(found.unclear)
    lying = tuple(ko for ko in _ko_files(directory) if ko not in modules)
    return Found(tuple(roots), tuple(modules.values()), tuple(unclear if modules else others), lying)


class _Reading:
    """The content of a directory's Makefile and of those that kbuild goes on to from there."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._seen: set[Path] = set()
        self.modules: list[FoundModule] = []
        self.unclear: list[Unclear] = []

    def read(self, below: Path, configs: tuple[str, ...] = ()) -> None:
        path = next((below / name for name in _MAKEFILES if (self._top / below / name).is_file()), None)
        if path is None or path in self._seen:
            return
        self._seen.add(path)
        try:
            makefile = read_makefile((self._top / path).read_text(errors="replace"))
        except OSError:
            return
        self.unclear += [Unclear(path, line) for line in makefile.unclear]
        for entry in makefile.modules:
            objects = makefile.parts.get(entry.name, ()) or (f"{entry.name}.o",)
            sources = [self._top / below / Path(one).with_suffix(".c") for one in objects]
            makes_node = any(map(_makes_node, sources))
            ko = below / f"{entry.name}.ko"
            self.modules.append(FoundModule(ko, path, _with(configs, entry.config), makes_node))
        for entry in makefile.directories:
            inner = Path(os.path.normpath(below / entry.name))
            if not inner.is_absolute() and ".." not in inner.parts:
                self.read(inner, _with(configs, entry.config))


def _with(configs: tuple[str, ...], config: str) -> tuple[str, ...]:
    return (*configs, config) if config and config not in configs else configs


def _makes_node(source: Path) -> bool:
    try:
        return _NODE_MAKERS.search(source.read_bytes()) is not None
    except OSError:
        return False


def _directories(top: Path) -> Iterator[Path]:
    """Yields the directory itself as `.`, then those below it, the nearest first."""
    level = [Path()]
    for _ in range(_DEPTH):
        yield from level
        level = [child for below in level for child in _children(top, below)]


def _children(top: Path, below: Path) -> list[Path]:
    try:
        entries = sorted(os.scandir(top / below), key=lambda entry: entry.name)
    except OSError:
        return []
    return [
        below / entry.name
        for entry in entries
        if entry.is_dir(follow_symlinks=False)
        and not entry.name.startswith(".")
        and entry.name not in _SKIPPED
        and not os.path.exists(os.path.join(entry.path, "pyvenv.cfg"))
        and not _is_bundle(entry.path)
    ]


def _is_bundle(directory: str) -> bool:
    """True for a failure's bundle, whose modules are copies (`run --bundle DIRECTORY`, --kh-bundles)."""
    return all(os.path.exists(os.path.join(directory, name)) for name in _BUNDLE)


def _ko_files(top: Path) -> Iterator[Path]:
    for below in _directories(top):
        yield from (path.relative_to(top) for path in sorted((top / below).glob("*.ko")) if path.is_file())
