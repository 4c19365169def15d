"""Checks that unload left nothing behind: symbols, /proc/modules, sysfs, device nodes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from kmod_harness.checks.require import require
from kmod_harness.guest.agent.calls import c_path, check
from kmod_harness.guest.agent.protocol import Call, OutUpToResult, ResultOf
from kmod_harness.guest.agent.syscall_table import NUMBERS
from kmod_harness.guest.agent.syscalls import AT_FDCWD, parse_entries
from kmod_harness.guest.files.proc_files import calls_that_read, content
from kmod_harness.guest.guest import Guest

_PROC_MODULES = "/proc/modules"
#: Each read has room for more than 1,000 entries.
_DIRECTORY_BYTES, _DIRECTORY_READS = 32768, 4


@dataclass(frozen=True)
class UnloadResult:
    """The module that was unloaded, and the device nodes that went with it."""

    module: str
    nodes: tuple[str, ...]


def device_nodes(guest: Guest) -> frozenset[str]:
    """Returns the paths of the device nodes in /dev; a module's nodes appear and vanish there.

    Directories in /dev are left out: the image's init creates some of its own, such as /dev/pts.
    """
    opened = ResultOf(0)
    entries = Call(NUMBERS["getdents64"], (opened, OutUpToResult(_DIRECTORY_BYTES), _DIRECTORY_BYTES))
    results = guest.syscaller.batch(
        [
            Call(NUMBERS["openat"], (AT_FDCWD, c_path("/dev"), os.O_RDONLY | os.O_DIRECTORY, 0)),
            *[entries] * _DIRECTORY_READS,
            Call(NUMBERS["close"], (opened,)),
        ]
    )
    listing = b"".join(check(result, "/dev").buffers[0] for result in results[1:-1])
    return frozenset(f"/dev/{entry.name}" for entry in parse_entries(listing) if entry.is_device)


def check_unloaded(guest: Guest, module: str, nodes: Sequence[str] = ()) -> UnloadResult:
    """Checks kallsyms, /proc/modules, /sys/module and the device nodes for remains of the module.

    Raises CheckFailed that names everything that is left.
    """
    left = what_is_left(guest, [module], nodes)
    symbols = guest.kallsyms().of_module(module)
    if symbols:
        left.append(f"/proc/kallsyms has {len(symbols)} symbols, {symbols[0].name} first")
    require(not left, f"{module} left something behind after its unload", "\n".join(left))
    return UnloadResult(module, tuple(nodes))


def check_nothing_left(guest: Guest, modules: Sequence[str], nodes: Sequence[str]) -> None:
    """As `check_unloaded` for several modules, without kallsyms, which takes 0.2 s. Raises CheckFailed."""
    left = what_is_left(guest, modules, nodes)
    require(not left, f"{', '.join(modules)} left something behind after the unload", "\n".join(left))


def what_is_left(guest: Guest, modules: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """Returns a line for each leftover in /dev, /sys/module and /proc/modules; takes one round trip."""
    calls = calls_that_read(_PROC_MODULES)
    ends = len(calls)
    paths = [*nodes, *(f"/sys/module/{module}" for module in modules)]
    calls += [Call(NUMBERS["faccessat"], (AT_FDCWD, c_path(path), 0)) for path in paths]
    results = guest.syscaller.batch(calls)
    left = [f"{path} exists" for path, result in zip(paths, results[ends:], strict=True) if result.errno == 0]
    listing, complete = content(results[:ends], _PROC_MODULES)
    if not complete:
        listing = guest.syscaller.read_proc(_PROC_MODULES)
    names = [line.split(None, 1)[0] for line in listing.decode(errors="replace").splitlines() if line.strip()]
    return left + [f"/proc/modules lists {module}" for module in modules if module in names]
