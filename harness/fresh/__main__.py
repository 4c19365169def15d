"""`make fresh`: the README's commands on empty Debian machines; `--can`: whether that is possible here."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import readme
from .host import CannotRun, look_at_host
from .report import failures, table
from .root import obstacle
from .trial import Step, Trial, run_trial

CHECKOUT = Path(__file__).resolve().parents[2]
SUITES = ("bookworm", "trixie")
USERS = ("root", "sudo")


def main(arguments: Sequence[str]) -> int:
    """Returns 0 when every command passed, 1 when one failed, 2 when no root can be made."""
    args = _parser().parse_args(arguments)
    if args.can:
        print(obstacle())
        return 2 if obstacle() else 0
    # a CI's way to end a job: the root is removed then too
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return _try_all(args)
    except CannotRun as error:
        print(f"fresh: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("fresh: interrupted", file=sys.stderr)
        return 130


def _try_all(args: argparse.Namespace) -> int:
    lacking = obstacle()
    if lacking:
        raise CannotRun(lacking)
    typed = readme.first_commands((CHECKOUT / "README.md").read_text())
    setup = readme.setup_of(typed)
    commands = readme.chosen(args.commands) or tuple(line for line in typed if line not in setup)
    host = look_at_host()
    _say_what_is_left_out()
    steps: list[Step] = []
    for suite in args.suite.split() or SUITES:
        for user in args.user.split() or USERS:
            trial = Trial(suite, user, setup, commands, args.keep_kernels, args.shared)
            steps.extend(run_trial(trial, CHECKOUT, host, CHECKOUT / "build/fresh" / f"{suite}-{user}"))
    print(f"\n{table(steps)}")
    if failed := failures(steps):
        print(failed)
        return 1
    return 0


def _say_what_is_left_out() -> None:
    changed = subprocess.run(
        ["git", "-C", str(CHECKOUT), "status", "--porcelain"], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    if changed:
        print(f"fresh: what is tried is HEAD, without {len(changed)} uncommitted changes", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fresh", description=__doc__)
    parser.add_argument("--can", action="store_true", help="print what is in the way, or an empty line")
    parser.add_argument("--suite", default="", help=f"Debian's suites (default: {' '.join(SUITES)})")
    parser.add_argument("--user", default="", help=f"as whom (default: {' '.join(USERS)})")
    parser.add_argument("--commands", default="", help="separated by `;` (default: the README's)")
    parser.add_argument(
        "--keep-kernels", action="store_true", help="share compiled kernels with earlier runs"
    )
    parser.add_argument("--shared", type=Path, help="a directory to lay beside the clone, read-only")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
