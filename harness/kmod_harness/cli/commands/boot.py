"""`kmod-harness boot`: a guest to work in; the terminal is the shell on its ttyS1."""

from __future__ import annotations

import argparse
from typing import Any

from kmod_harness.cli.machine_options import add_machine_options
from kmod_harness.cli.parameters import add_parameter_option, assign_parameters
from kmod_harness.cli.repository_defaults import (
    add_repository_option,
    modules_of_repository,
    with_repository,
)

_EPILOG = """\
On a terminal: the guest's shell, byte for byte. `exit`, `poweroff` or Ctrl-] pressed twice ends the guest.
Without one: each line of stdin is run in the shell, its output printed; the end of stdin ends the guest.

exit status: 0, or 1 when the last line of a stdin that is no terminal failed; 4, 6, 7 as for `run`
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "boot",
        help="boot a guest and connect the terminal to its shell",
        usage="kmod-harness boot [MODULE ...] [options]",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="modules to load first, with what they need: a .ko, or a name of the kernel's own"
        " (default: those of kmod-harness.toml, built first)",
    )
    add_parameter_option(parser)
    add_repository_option(parser)
    add_machine_options(parser)
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Boots, loads the modules, connects; returns when the guest or its user ends it."""
    import sys  # lazy

    from kmod_harness.cli.given_modules import plan_given, read_given  # lazy
    from kmod_harness.cli.interactive import connect_terminal, feed_lines  # lazy
    from kmod_harness.cli.machine_options import spec_from  # lazy
    from kmod_harness.cli.run.report import say  # lazy
    from kmod_harness.guest.dependencies import load_plan, said_besides  # lazy
    from kmod_harness.lifecycle.boot import boot  # lazy
    from kmod_harness.lifecycle.prepare import prepare  # lazy
    from kmod_harness.report.columns import wrapped  # lazy

    args = with_repository(args)
    spec = spec_from(args)
    given = read_given(args.modules or modules_of_repository(args, spec))
    prepared = prepare(spec, module=given.first_module)
    planned = plan_given(given, prepared)
    parameters = assign_parameters(args.param, planned.given, planned.plan.modules)
    say(f"booting {prepared.kernel.release}, {prepared.accelerator.name}: {prepared.accelerator.reason}")
    with boot(prepared, boot_timeout=args.boot_timeout) as guest:
        loaded = load_plan(guest, planned.plan, parameters)
        for load, module in loaded:
            if load.is_given:
                say(f"loaded {module.name} at {module.address:#x}, {module.size} bytes")
        if besides := said_besides(load for load, _ in loaded):
            say("\n".join(wrapped(besides, further="    ")))
        if not sys.stdin.isatty():
            return feed_lines(guest, sys.stdin.buffer, sys.stdout)
        say(f"ready after {guest.boot_seconds:.1f} s; the kernel log: {guest.machine.ends.console_log}")
        say("`exit` or Ctrl-] twice ends the guest")
        connect_terminal(guest, sys.stdin.fileno(), sys.stdout.fileno())
    return 0
