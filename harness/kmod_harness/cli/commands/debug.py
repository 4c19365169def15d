"""`kmod-harness debug`: gdb at a guest, KASLR on, with the kernel's and the modules' symbols in place."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmod_harness.cli.machine_options import add_machine_options
from kmod_harness.cli.parameters import add_parameter_option, assign_parameters
from kmod_harness.cli.repository_defaults import (
    add_repository_option,
    modules_of_repository,
    with_repository,
)

if TYPE_CHECKING:
    from kmod_harness.build.kernel.kernel import Kernel
    from kmod_harness.guest.guest import Guest
    from kmod_harness.kmod.loading.plan import LoadPlan
    from kmod_harness.machine.machine import Machine

_EPILOG = """\
The guest stands still when gdb's prompt comes; `continue` lets it go on: it loads MODULE, then runs
COMMAND. Symbols of modules are read as they are loaded and dropped as they go, every section at its address,
so that --at init stops on the first instruction of a module's init. Without a terminal, or with --print,
gdb's command line is printed and the guest waits for it. Leaving gdb, or Ctrl-C, ends the guest.

With --from the guest is the one of a failure, as it was then: where it oopsed or panicked, or at its
deadline. Its machine is its own: options of the machine say nothing then.
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "debug",
        help="gdb at a guest, with symbols of kernel and modules",
        usage="kmod-harness debug [MODULE ...] [options] [-- COMMAND ...]",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="modules to load, with what they need: a .ko, or a name of the kernel's own"
        " (default: those of kmod-harness.toml, built first)",
    )
    add_parameter_option(parser)
    parser.add_argument(
        "--break",
        action="append",
        default=[],
        dest="breakpoints",
        metavar="SYMBOL",
        help="stop there; repeatable",
    )
    parser.add_argument(
        "--at",
        default="",
        metavar="init|load|SYMBOL",
        help="stop at the first instruction of the module's init, before it is initialised, or at a symbol",
    )
    parser.add_argument(
        "--from", default="", dest="bundle", metavar="BUNDLE", help="the guest of a failure, as it was then"
    )
    parser.add_argument(
        "--print", action="store_true", dest="printed", help="print gdb's command line and wait"
    )
    add_repository_option(parser)
    add_machine_options(parser)
    parser.set_defaults(execute=execute, takes_command=True, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Starts the guest, stops it, and runs gdb or waits for it."""
    from kmod_harness.errors import MissingTool  # lazy

    if not args.printed and shutil.which("gdb") is None:
        raise MissingTool("gdb is not installed", advice="apt-get install --no-install-recommends gdb")
    return _kept_guest(args) if args.bundle else _new_guest(args)


def _kept_guest(args: argparse.Namespace) -> int:
    """gdb at the guest of a bundle. Raises Misuse for what does not go with it."""
    from kmod_harness.debug.gdb_commands import Stops  # lazy
    from kmod_harness.debug.open_stub import open_stub  # lazy
    from kmod_harness.errors import Misuse  # lazy
    from kmod_harness.lifecycle.failing_state import failing_state_in, load_failing_state  # lazy

    if args.modules or args.command or args.param or args.at:
        raise Misuse(
            "--from takes a guest that has loaded and run everything already",
            advice="leave out modules, --param, --at and the command; --break is possible",
        )
    failing = failing_state_in(Path(args.bundle))
    with load_failing_state(failing) as machine:
        script = open_stub(machine, failing.kernel, failing.modules, Stops("", args.breakpoints, True))
        return _attach(machine, failing.kernel, script, printed=args.printed)


def _new_guest(args: argparse.Namespace) -> int:
    from kmod_harness.cli.given_modules import plan_given, read_given  # lazy
    from kmod_harness.cli.machine_options import spec_from  # lazy
    from kmod_harness.debug.gdb_commands import Stops  # lazy
    from kmod_harness.debug.open_stub import open_stub  # lazy
    from kmod_harness.lifecycle.boot import boot  # lazy
    from kmod_harness.lifecycle.prepare import prepare  # lazy
    from kmod_harness.machine.deadline import Clock  # lazy

    args = with_repository(args)
    spec = spec_from(args)
    given = read_given(args.modules or modules_of_repository(args, spec))
    prepared = prepare(spec, module=given.first_module)
    planned = plan_given(given, prepared)
    parameters = assign_parameters(args.param, planned.given, planned.plan.modules)
    at = args.at if args.at in ("init", "load") else ""
    stops = Stops(at, (*([args.at] if args.at and not at else []), *args.breakpoints))
    # nobody's deadline passes while gdb holds the guest
    clock = Clock()
    clock.pause()
    with boot(prepared, cold=False, clock=clock) as guest:
        script = open_stub(guest.machine, prepared.kernel, planned.plan.modules, stops)
        with _driven(guest, planned.plan, parameters, args.command or []):
            return _attach(guest.machine, prepared.kernel, script, printed=args.printed)


def _attach(machine: Machine, kernel: Kernel, script: Path, *, printed: bool) -> int:
    """Runs gdb on this terminal, or tells its command line and waits for it."""
    if kernel.vmlinux is None:
        print("note: this kernel comes without vmlinux: gdb shows addresses only", file=sys.stderr)
    if printed or not sys.stdin.isatty():
        _wait_for_gdb(machine, script)
        return 0
    return _run_gdb(script)


@contextlib.contextmanager
def _driven(
    guest: Guest,
    plan: LoadPlan,
    parameters: Mapping[str, Mapping[str, str | None]],
    command: Sequence[str],
) -> Iterator[None]:
    """Has the modules loaded, and the command run, as soon as gdb lets the guest go on."""
    from kmod_harness.errors import KmodHarnessError  # lazy
    from kmod_harness.guest.dependencies import load_plan  # lazy

    def drive() -> None:
        # whatever gdb's user does to the guest is theirs to see
        try:
            load_plan(guest, plan, parameters)
            if command:
                done = guest.run(command)
                print(f"kmod-harness: {command[0]}: {done.how}\n{done.text}", file=sys.stderr)
        except (KmodHarnessError, OSError) as error:
            if not guest.machine.watch.has_ended:
                print(f"kmod-harness: {error}", file=sys.stderr)

    driver = threading.Thread(target=drive, daemon=True)
    driver.start()
    try:
        yield
    finally:
        guest.machine.close()
        driver.join()


def _run_gdb(script: Path) -> int:
    """Runs gdb on this terminal; Ctrl-C is gdb's while it runs."""
    console = script.with_name("console.log")
    print(f"kernel log: tail -f {shlex.quote(str(console))}", file=sys.stderr)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.run(
            ["gdb", "-q", "-x", script], preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        ).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _wait_for_gdb(machine: Machine, script: Path) -> None:
    """Prints gdb's command line, then passes the kernel log on until the guest ends."""
    from kmod_harness.cli.run.report import say  # lazy
    from kmod_harness.errors import MachineFailure  # lazy
    from kmod_harness.guest.kernel_log import KernelLog  # lazy
    from kmod_harness.klog.reading import for_reading  # lazy
    from kmod_harness.machine.deadline import Deadline  # lazy

    print(f"gdb -q -x {shlex.quote(str(script))}", flush=True)
    forever = Deadline("the session", None, machine.clock)
    log = KernelLog(machine)
    shown = 0
    try:
        while True:
            machine.watch.wait([machine.console.fileno()], forever)
            new = log.since(shown)
            shown += len(new)
            for line in for_reading(record.raw for record in new):
                say(line)
    except MachineFailure as end:
        say(end.message)
