"""`kmod-harness crash`: what the memory dump of a failure tells."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmod_harness.report.crash_dump import CrashDump


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "crash",
        help="read a bundle's memory dump: the stack at fault, the module's variables, tasks",
        description="Opens the memory dump of a bundle with drgn; --shell gives drgn's prompt on it.",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="the directory a failure left")
    parser.add_argument(
        "--shell", action="store_true", help="drgn's prompt, with the modules' symbols loaded"
    )
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Prints the report, or runs the prompt; raises Misuse for what is no bundle with a dump."""
    from kmod_harness.kmod.elf.module import read_module  # lazy
    from kmod_harness.report.bundle_files import bundle_object, damage_told  # lazy
    from kmod_harness.report.colour import BOLD, outcome_word, painted  # lazy
    from kmod_harness.report.columns import wrapped  # lazy
    from kmod_harness.report.crash_dump import crash_report, open_crash_dump  # lazy

    if not sys.stdin.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        # drgn takes Python 3.13's own prompt, which fails without a cursor to move; it decides when imported
        os.environ["PYTHON_BASIC_REPL"] = "1"
    bundle = Path(args.bundle)
    with _dump(bundle) as dump, open_crash_dump(dump) as program:
        if args.shell:
            from drgn.cli import run_interactive  # lazy

            run_interactive(program)
            return 0
        names = [read_module(path).name for path in dump.modules]
        verdict = bundle_object(bundle / "verdict.json")
        word = outcome_word(str(verdict.get("outcome", "")), sys.stdout)
        print("\n".join(wrapped(f"{word}: {verdict.get('reason', '')}", further="    ")))
        print()
        with damage_told(bundle / "verdict.json"):
            splats = verdict.get("splats") or [{}]
            pid = splats[0].get("pid")
        for line in crash_report(program, names, pid if isinstance(pid, int) else None):
            is_heading = bool(line) and not line.startswith(" ")
            print(painted(line, BOLD, sys.stdout) if is_heading else line)
    return 0


@contextlib.contextmanager
def _dump(bundle: Path) -> Iterator[CrashDump]:
    """Gives the bundle's dump, made of the guest's state where it has that alone."""
    from kmod_harness.lifecycle.failing_state import STATE, failing_state_in, load_failing_state  # lazy
    from kmod_harness.machine.rundir import run_directory  # lazy
    from kmod_harness.report.crash_dump import MEMORY, crash_dump_in  # lazy
    from kmod_harness.report.kept_memory import keep_memory  # lazy

    if (bundle / MEMORY).exists() or not (bundle / STATE).exists():
        yield crash_dump_in(bundle)
        return
    failing = failing_state_in(bundle)
    with run_directory() as directory:
        with load_failing_state(failing) as machine:
            keep_memory(machine, failing.kernel, directory)
        yield crash_dump_in(bundle, directory)
