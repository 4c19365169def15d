"""After unload nothing of a module is left: symbols, /proc/modules, sysfs, device nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..guest import Guest
from .require import require


@dataclass(frozen=True)
class Gone:
    """What was looked for and not found."""

    module: str
    nodes: tuple[str, ...]


def check_gone(guest: Guest, module: str, nodes: Sequence[str] = ()) -> Gone:
    """No symbol in kallsyms, no line in /proc/modules, no /sys/module entry, none of the nodes.

    Raises CheckFailed that names everything that is left.
    """
    left = [f"{path} exists" for path in (*nodes, f"/sys/module/{module}") if guest.exists(path)]
    symbols = guest.kallsyms().of_module(module)
    if symbols:
        left.append(f"/proc/kallsyms has {len(symbols)} symbols, {symbols[0].name} first")
    names = [line.split(None, 1)[0] for line in guest.read_text("/proc/modules").splitlines() if line.strip()]
    if module in names:
        left.append("/proc/modules lists it")
    require(not left, f"{module} left something behind after its unload", "\n".join(left))
    return Gone(module, tuple(nodes))
