"""After unload nothing of a module is left: symbols, /proc/modules, sysfs, device nodes."""

from __future__ import annotations

import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from ..guest import Guest
from ..guest.process import c_path
from ..guest.protocol import Call, Out
from ..guest.syscalls import NUMBERS
from .require import require


@dataclass(frozen=True)
class Gone:
    """What was looked for and not found."""

    module: str
    nodes: tuple[str, ...]


def device_nodes(guest: Guest) -> frozenset[str]:
    """Returns the device nodes in /dev: what appears and goes with a module.

    Not its directories: the image's init makes some of its own (/dev/pts) when it comes to it.
    """
    paths = [f"/dev/{name}" for name in guest.syscaller.list_directory("/dev")]
    stat_size, mode_at = 144, 24
    calls = [Call(NUMBERS["lstat"], (c_path(path), Out(stat_size))) for path in paths]
    results = guest.syscaller.batch(calls)
    modes = [struct.unpack_from("<I", result.buffers[0], mode_at)[0] for result in results]
    return frozenset(
        path for path, mode in zip(paths, modes, strict=True) if stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    )


def check_gone(guest: Guest, module: str, nodes: Sequence[str] = ()) -> Gone:
    """No symbol in kallsyms, no line in /proc/modules, no /sys/module entry, none of the nodes.

    Raises CheckFailed that names everything that is left.
    """
    left = _left_outside_kallsyms(guest, module, nodes)
    symbols = guest.kallsyms().of_module(module)
    if symbols:
        left.append(f"/proc/kallsyms has {len(symbols)} symbols, {symbols[0].name} first")
    require(not left, f"{module} left something behind after its unload", "\n".join(left))
    return Gone(module, tuple(nodes))


def check_nothing_left(guest: Guest, modules: Sequence[str], nodes: Sequence[str]) -> None:
    """The same for several modules, without kallsyms, which takes 0.2 s to read. Raises CheckFailed."""
    left = [line for module in modules for line in _left_outside_kallsyms(guest, module, ())]
    left += [f"{path} exists" for path in nodes if guest.exists(path)]
    require(not left, f"{', '.join(modules)} left something behind after the unload", "\n".join(left))


def _left_outside_kallsyms(guest: Guest, module: str, nodes: Sequence[str]) -> list[str]:
    left = [f"{path} exists" for path in (*nodes, f"/sys/module/{module}") if guest.exists(path)]
    names = [line.split(None, 1)[0] for line in guest.read_text("/proc/modules").splitlines() if line.strip()]
    if module in names:
        left.append("/proc/modules lists it")
    return left
