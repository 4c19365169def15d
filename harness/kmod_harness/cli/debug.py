"""`kmod-harness debug`: a guest stopped at its first instruction, QEMU's gdb stub on a private socket."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .machine_options import add_machine_options

if TYPE_CHECKING:
    from ..guest import LoadedModule
    from ..kmod.elf import KernelModule
    from ..machine import Machine
    from ..start import Prepared

_EPILOG = """\
Prints the gdb command line and waits; in gdb, `continue` starts the guest. With MODULE.ko the module is
loaded once the guest is up, and gdb's command for its symbols is printed. The kernel is booted with nokaslr,
so that vmlinux's addresses are the guest's; --kaslr leaves that out. Ctrl-C ends the guest.
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "debug",
        help="start a guest that waits for gdb",
        usage="kmod-harness debug [MODULE.ko] [options]",
        epilog=_EPILOG,
    )
    parser.add_argument("module", nargs="?", default="", metavar="MODULE.ko", help="module to load")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="as for `run`")
    parser.add_argument("--kaslr", action="store_true", help="leave KASLR on: gdb then needs the slide")
    add_machine_options(parser)
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Starts the stopped guest, prints gdb's command line, passes the kernel log on until the end."""
    from dataclasses import replace

    from ..kmod.elf import read_module
    from ..machine import Clock
    from ..start import prepare, start_machine
    from .machine_options import spec_from
    from .run_request import assign_parameters

    files = [read_module(args.module)] if args.module else []
    parameters = assign_parameters(args.param, files)
    spec = spec_from(args)
    if not args.kaslr:
        spec = replace(spec, append=("nokaslr", *spec.append))
    prepared = prepare(spec, module_release=files[0].release if files else "")
    # nobody's deadline passes while gdb holds the guest
    clock = Clock()
    clock.pause()
    with start_machine(prepared, stopped=True, clock=clock) as machine:
        machine.monitor(f"gdbserver unix:{machine.ends.gdb_socket},server=on,wait=off")
        print(gdb_command(prepared, str(machine.ends.gdb_socket)), flush=True)
        _serve(machine, files, parameters)
    return 0


def gdb_command(prepared: Prepared, socket: str) -> str:
    """Returns the shell command that connects gdb, with the kernel's symbols where they are here."""
    vmlinux = prepared.kernel.vmlinux
    symbols = f" {vmlinux}" if vmlinux is not None else ""
    note = "" if vmlinux is not None else "\n# this kernel comes without vmlinux: gdb shows addresses only"
    return f"gdb -ex 'target remote {socket}'{symbols}{note}"


def symbol_command(module: LoadedModule) -> str:
    """Returns gdb's command that gives it the module's symbols at their addresses."""
    sections = "".join(
        f" -s {section.name} {module.sections[section.name]:#x}"
        for section in module.file.sections
        if section.allocated
        and not section.init
        and section.name not in (".text", ".data..percpu")
        and section.name in module.sections
    )
    text = module.sections.get(".text", module.address)
    return f"add-symbol-file {module.file.path.absolute()} {text:#x}{sections}"


def _serve(
    machine: Machine, files: Sequence[KernelModule], parameters: Mapping[str, Mapping[str, str]]
) -> None:
    from ..errors import GuestRebooted
    from ..guest import Guest
    from ..machine import Deadline
    from .run_report import say

    forever = Deadline("the session", None, machine.clock)
    shown = 0
    try:
        guest = Guest(machine)
        for file in files:
            module = guest.load(file.path, parameters.get(file.name, {}))
            print(symbol_command(module), flush=True)
        say("the guest is up; its kernel log:")
        while True:
            for record in guest.kernel_log.since(shown):
                say(record.raw)
                shown += 1
            machine.watch.wait([machine.console.fileno()], forever)
    except GuestRebooted as end:
        say(end.message)
