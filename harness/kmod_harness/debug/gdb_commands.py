"""The commands for gdb: a pure function from the user's wishes to gdb's commands."""

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
    """The places at which the guest is to stop.

    at: `init` (the first instruction of a module's init), `load` (before it, in do_init_module), "" for
        neither
    breakpoints: symbols, also of modules that are not loaded yet
    at_fault: True for a guest that was kept as it failed, on one of its CPUs
    """

    at: str = ""
    breakpoints: Sequence[str] = ()
    at_fault: bool = False


def gdb_commands(
    vmlinux: Path | None, slide: int, stub: Path, modules: Mapping[str, Path], stops: Stops
) -> tuple[str, ...]:
    """Returns gdb's commands up to the prompt; the guest is stopped.

    vmlinux: path of vmlinux, None without: gdb then knows addresses alone
    slide: KASLR's slide in bytes
    stub: socket of QEMU's gdb stub
    modules: name -> .ko, also of modules that are not loaded yet
    stops: places at which to stop
    """
    wanted = json.dumps({"at": stops.at, "modules": {name: str(path) for name, path in modules.items()}})
    symbols = (f"symbol-file {quote(str(vmlinux))} -o {slide:#x}",) if vmlinux else ()
    modules_too = (
        (f"source {UNWIND}", f"set $kmod_harness = {quote(wanted)}", f"source {GDB_SIDE}") if vmlinux else ()
    )
    return (
        "set confirm off",
        # otherwise gdb asks a server on the Internet for source files
        "set debuginfod enabled off",
        "set breakpoint pending on",
        "set architecture i386:x86-64",
        *symbols,
        f"target remote {stub}",
        *modules_too,
        *((f"source {AT_FAULT}",) if vmlinux and stops.at_fault else ()),
        *(f"break {name}" for name in stops.breakpoints),
    )
