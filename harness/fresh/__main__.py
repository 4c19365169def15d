"""`make fresh`: the README's commands on empty Debian machines; `--can` tells whether it can run here."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import readme
from .host import CannotRun, look_at_host
from .root import obstacle
from .step_table import failures, table
from .trial import Step, Trial, run_trial

CHECKOUT = Path(__file__).resolve().parents[2]
SUITES = ("bookworm", "trixie")
#: tried where asked for: its kernel, compiler and QEMU change from day to day
FURTHER_SUITES = ("sid",)
USERS = ("root", "sudo")


def main(arguments: Sequence[str]) -> int:
    """Returns 0 when every command passed, 1 when one failed, 2 when no root can be made."""
    args = _parser().parse_args(arguments)
    if args.can:
        lacking = obstacle()
        print(lacking)
        return 2 if lacking else 0
    # files that are written into a root are for its users, whatever this user's umask says
    os.umask(0o022)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # a CI's way to end a job: the root is removed then too
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        return _try_all(_trials(args))
    except (CannotRun, OSError) as error:
        print(f"fresh: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fresh: interrupted", file=sys.stderr)
        return 130


def _trials(args: argparse.Namespace) -> list[Trial]:
    if lacking := obstacle():
        raise CannotRun(lacking)
    typed = readme.first_commands((CHECKOUT / "README.md").read_text())
    setup = readme.setup_of(typed)
    commands = readme.chosen(args.commands) or tuple(line for line in typed if line not in setup)
    return [
        Trial(suite, user, setup, commands, args.keep_kernels, args.shared)
        for suite in _known("suite", args.suite, SUITES, FURTHER_SUITES)
        for user in _known("user", args.user, USERS)
    ]


def _known(what: str, chosen: str, known: Sequence[str], further: Sequence[str] = ()) -> Sequence[str]:
    unknown = [word for word in chosen.split() if word not in (*known, *further)]
    if unknown:
        raise CannotRun(f"there is no {what} {unknown[0]!r}: one of {', '.join((*known, *further))}")
    return chosen.split() or known


def _try_all(trials: Sequence[Trial]) -> int:
    """Runs the trials one after the other, and reports those that were run, however it ends."""
    host = look_at_host()
    _say_what_is_left_out()
    steps: list[Step] = []
    untried = []
    try:
        for trial in trials:
            out = CHECKOUT / "build/fresh" / f"{trial.suite}-{trial.user}"
            try:
                for step in run_trial(trial, CHECKOUT, host, out):
                    steps.append(step)
            except CannotRun as error:
                untried.append(f"failed: {trial.suite}, {trial.user}: {error}")
    finally:
        for line in (f"\n{table(steps)}", failures(steps), *untried):
            if line:
                print(line, flush=True)
    return int(bool(untried or failures(steps)))


def _say_what_is_left_out() -> None:
    changed = subprocess.run(
        ["git", "-C", str(CHECKOUT), "status", "--porcelain"], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    if changed:
        print(f"fresh: what is tried is HEAD, without {len(changed)} uncommitted changes", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fresh", description=__doc__)
    parser.add_argument("--can", action="store_true", help="print what is in the way, or an empty line")
    parser.add_argument("--suite", default="", help=f"Debian's suites (default: {' '.join(SUITES)}; sid too)")
    parser.add_argument("--user", default="", help=f"as whom (default: {' '.join(USERS)})")
    parser.add_argument("--commands", default="", help="separated by `;` (default: the README's)")
    parser.add_argument(
        "--keep-kernels", action="store_true", help="share compiled kernels with earlier runs"
    )
    parser.add_argument("--shared", type=Path, help="a directory to lay beside the clone, read-only")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
