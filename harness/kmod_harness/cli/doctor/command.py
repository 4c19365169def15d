"""`kmod-harness doctor`: what is there, what is missing, which package brings it, and what can work now."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kmod_harness.report.colour import BOLD, GREEN, RED, painted
from kmod_harness.report.columns import WIDTH, wrapped

if TYPE_CHECKING:
    from kmod_harness.cli.doctor.parts import CheckResult
    from kmod_harness.cli.doctor.tasks import Task
    from kmod_harness.host.packages import Requirement

#: Columns of what a result is about; a longer one, a file's path say, has a line of its own.
_SUBJECT = 26
_EPILOG = """\
TASK: run, verify, explain, debug, disks (--disk), modules, kernel (kernel build
minimal), debian (--kernel debian), buildroot; in a checkout test, lint, fresh.
Without one all of them are looked at, and what is there is not listed.

exit status: 0 when each TASK (without one: run) could work now, else 2"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("doctor", help="show what is there and what is missing", epilog=_EPILOG)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="what you want to do (default: anything)")
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Prints the results; returns 0 when what was asked for could work now, else 2. Raises Misuse."""
    from kmod_harness.cli.doctor.parts import cache, does_without_pahole, look, qemu  # lazy
    from kmod_harness.cli.doctor.tasks import CHECKOUT_TASKS, TASKS, needed, with_prerequisites  # lazy
    from kmod_harness.errors import ExitStatus, Misuse  # lazy
    from kmod_harness.host.packages import found, requirements  # lazy
    from kmod_harness.host.resources import checkout  # lazy

    known = TASKS + (CHECKOUT_TASKS if checkout() else ())
    names = [task.name for task in known]
    unknown = [name for name in args.tasks if name not in names]
    if unknown:
        raise Misuse(f"doctor knows no task {unknown[0]!r}", advice=f"one of: {', '.join(names)}")
    tasks = with_prerequisites(args.tasks or names, known)

    parts = {part: look(part) for task in tasks for part in task.parts}
    missing_parts = [part for part, results in parts.items() if not all(one.there for one in results)]
    listed = requirements()
    spared = {"pahole"} if does_without_pahole() else set()
    wanted = {
        task.name: [one for one in needed(task, listed, missing_parts) if one.check not in spared]
        for task in tasks
    }
    places = {one.check: found(one.check) for ones in wanted.values() for one in ones}
    missing = _each_once(one for ones in wanted.values() for one in ones if not places[one.check])
    obstacles = _obstacles(tasks, missing_parts, wanted, places)

    results = [*qemu(), *(one for found_parts in parts.values() for one in found_parts), cache()]
    if args.tasks:
        results += _there(wanted, places)
    results += (_not_there(one, wanted) for one in missing)
    show(results, tasks, obstacles, missing)
    return int(ExitStatus.USAGE if any(obstacles[name] for name in args.tasks or ["run"]) else 0)


def show(
    results: Sequence[CheckResult],
    tasks: Sequence[Task],
    obstacles: Mapping[str, Sequence[str]],
    missing: Sequence[Requirement],
) -> None:
    """Prints a row for each result, a verdict for each task, and the commands that bring what is missing."""
    from kmod_harness.cli.doctor.tasks import install_advice  # lazy
    from kmod_harness.host.resources import checkout  # lazy

    width = max((len(one.subject) for one in results if len(one.subject) <= _SUBJECT), default=0)
    for one in results:
        print(_row("ok" if one.there else "missing", one.subject, width, one.text))
    print()
    for task in tasks:
        lacks = obstacles[task.name]
        verdict = f"not yet: {', '.join(lacks)}" if lacks else "can work"
        first, *rest = _under(f"{task.name:<11}", verdict)
        print("\n".join([painted(first[:11], BOLD, sys.stdout) + first[11:], *rest]))
    apt = shutil.which("apt-get") is not None
    for words, commands in install_advice(missing, apt=apt, checkout=checkout() is not None):
        print(f"-> {words}")
        for command in commands:
            print(_command(command))


def _obstacles(
    tasks: Sequence[Task],
    missing_parts: Sequence[str],
    wanted: Mapping[str, Sequence[Requirement]],
    places: Mapping[str, str],
) -> dict[str, list[str]]:
    """Returns for each task what it lacks, what it requires included."""
    lacks: dict[str, list[str]] = {}
    for task in tasks:  # each requires only earlier ones
        parts = (part for part in task.parts if part in missing_parts)
        programs = (one.subject for one in wanted[task.name] if not places[one.check])
        below = (subject for name in task.requires for subject in lacks[name])
        lacks[task.name] = list(dict.fromkeys((*below, *parts, *programs)))
    return lacks


def _there(wanted: Mapping[str, Sequence[Requirement]], places: Mapping[str, str]) -> Iterator[CheckResult]:
    from kmod_harness.cli.doctor.parts import CheckResult  # lazy

    for one in _each_once(one for ones in wanted.values() for one in ones if places[one.check]):
        yield CheckResult(one.subject, places[one.check])


def _not_there(missing: Requirement, wanted: Mapping[str, Sequence[Requirement]]) -> CheckResult:
    from kmod_harness.cli.doctor.parts import CheckResult  # lazy

    tasks = [name for name, ones in wanted.items() if any(one.check == missing.check for one in ones)]
    return CheckResult(missing.subject, f"package {missing.package}; for {', '.join(tasks)}", there=False)


def _each_once(ones: Iterable[Requirement]) -> list[Requirement]:
    by_check: dict[str, Requirement] = {}
    for one in ones:
        by_check.setdefault(one.check, one)
    return list(by_check.values())


def _row(state: str, subject: str, width: int, text: str) -> str:
    if len(subject) > width:
        lines = [f"{state:<9}{subject}", *_under(" " * (9 + width + 2), text)]
    else:
        lines = _under(f"{state:<9}{subject:<{width}}  ", text)
    head, rest = lines[0][:9], lines[0][9:]
    lines[0] = painted(head, GREEN if state == "ok" else RED, sys.stdout) + rest
    return "\n".join(lines)


def _under(head: str, text: str) -> list[str]:
    return wrapped(text, indent=head, further=" " * len(head), breaks_commands=True)


def _command(text: str) -> str:
    """Returns a command to copy, in lines that a shell takes as one."""
    continued = " \\"
    lines = textwrap.wrap(text, WIDTH - 5, break_long_words=False, break_on_hyphens=False)
    return f"{continued}\n".join(f"   {line}" for line in lines)
