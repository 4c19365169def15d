"""Members of structures and values of enumerations in a vmlinux with DWARF, by drgn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kmod_harness.kmod.addresses import KERNEL_IMAGE_BASE
from kmod_harness.kmod.symbols.symbolizer import load_drgn


class Dwarf:
    """The types of a vmlinux: a quarter of a second for the first. Raises MissingTool."""

    def __init__(self, vmlinux: Path) -> None:
        drgn = load_drgn()
        self._program = drgn.Program(drgn.host_platform)
        loaded = self._program.extra_module("vmlinux", 0, create=True)
        loaded.address_ranges = [(KERNEL_IMAGE_BASE, KERNEL_IMAGE_BASE + (1 << 30))]
        loaded.try_file(vmlinux, force=True)

    def layouts(self, names: Iterable[str]) -> dict[str, dict[str, int]]:
        """Returns name -> member -> offset in bytes of the structures; "" is the size."""
        found: dict[str, dict[str, int]] = {}
        for name in names:
            with contextlib.suppress(LookupError):
                kind = self._program.type(f"struct {name}")
                if kind.size is not None:
                    found[name] = {"": kind.size, **_members(kind, 0)}
        return found

    def enumerators(self, names: Iterable[str]) -> dict[str, int]:
        """Returns the values of the enumerators of those names."""
        found: dict[str, int] = {}
        for name in names:
            with contextlib.suppress(LookupError):
                found[name] = int(self._program.constant(name))
        return found


def _members(kind: Any, base: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for member in kind.members or ():
        at = base + member.bit_offset // 8
        if member.name:
            found.setdefault(member.name, at)
        else:
            for name, inside in _members(member.type, at).items():
                found.setdefault(name, inside)
    return found
