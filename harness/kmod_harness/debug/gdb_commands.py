"""What gdb is told: a pure function from what the user wants to gdb's commands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.machine.gdb.mi import quote

GDB_SIDE = Path(__file__).with_name("gdb_side.py")
UNWIND = Path(__file__).with_name("unwind.py")
AT_FAULT = Path(__file__).with_name("at_fault.py")


@dataclass(frozen=True)
class Stops:
    """Where the guest is to stop.

    at: `init` (the first instruction of a module's init), `load` (before it, in do_init_module), "" for
    neither. breakpoints: symbols, of modules too that are not loaded yet. at_fault: it stands where it
    failed, on one CPU of several.
    """

    at: str = ""
    breakpoints: Sequence[str] = ()
    at_fault: bool = False


def gdb_commands(
    vmlinux: Path | None, slide: int, stub: Path, modules: Mapping[str, Path], stops: Stops
) -> tuple[str, ...]:
    """Returns gdb's commands up to the prompt, the guest standing still.

    vmlinux's symbols are moved by `slide` bytes; without it addresses are all gdb knows. modules: name
    -> .ko, also such as are not loaded yet.
    """
    wanted = json.dumps({"at": stops.at, "modules": {name: str(path) for name, path in modules.items()}})
    symbols = (f"symbol-file {quote(str(vmlinux))} -o {slide:#x}",) if vmlinux else ()
    modules_too = (
        (f"source {UNWIND}", f"set $kmod_harness = {quote(wanted)}", f"source {GDB_SIDE}") if vmlinux else ()
    )
    return (
        "set confirm off",
        # gdb would ask a server on the Internet for source files
        "set debuginfod enabled off",
        "set breakpoint pending on",
        "set architecture i386:x86-64",
        *symbols,
        f"target remote {stub}",
        *modules_too,
        *((f"source {AT_FAULT}",) if vmlinux and stops.at_fault else ()),
        *(f"break {name}" for name in stops.breakpoints),
    )
