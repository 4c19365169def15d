"""`kmod-harness run`: boot, load modules, run a command in the guest, unload, judge."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmod_harness.cli.machine_options import add_machine_options, positive_seconds
from kmod_harness.cli.parameters import add_parameter_option
from kmod_harness.cli.repository_defaults import add_repository_option
from kmod_harness.errors import BISECT_SKIP, ExitStatus, KmodHarnessError

if TYPE_CHECKING:
    from kmod_harness.cli.run.record import RunRecord
    from kmod_harness.cli.run.request import RunRequest
    from kmod_harness.cli.run.run_verdict import RunVerdict
    from kmod_harness.klog.expected.expectation import Expectation

_EPILOG = """\
COMMAND's first word: one with a slash, such as ./test.sh, is a file of this machine, pushed to
/kmod-harness/pushed and run there; a name is a program of the guest, and so is an absolute path that the
image holds. The program is looked at before the boot: a missing interpreter or library is named.

A report of the kernel about itself counts wherever it stands in the log, from the boot's first line on.

exit status:
  0 passed   1 failed   2 usage or set-up   3 kernel splat (oops, BUG, ...)
  4 panic   5 hang   6 boot failed   7 QEMU died
  8 nothing was tested (the command exited with 4, or another --skip-status)
  130 and 143 when ended by Ctrl-C or SIGTERM
  --bisect turns 2, 6, 7 and 8 into 125 for `git bisect run`
A fault of kmod-harness itself is an "internal error": 2 too, with a file that says where it came from.

examples:
  kmod-harness run                        # what kmod-harness.toml names
  kmod-harness run xfs --kernel debian    # one of the kernel's own, by name
  kmod-harness run my.ko --param debug=1 -- ./my-test.sh
  kmod-harness run core.ko driver.ko --param core.slots=2 --param rate=9 --json
  kmod-harness run faulty.ko --param fault=oops --expect-splat oops
  kmod-harness run my.ko --allow-splat "WARNING:my_probe; times=2; reason=known"
"""
_UNTESTABLE = (ExitStatus.USAGE, ExitStatus.BOOT_FAILED, ExitStatus.QEMU_DIED, ExitStatus.NOTHING_TESTED)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        help="boot, load modules, run a command, unload, judge",
        usage="kmod-harness run [MODULE ...] [options] [-- COMMAND ...]",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="a .ko, or a name of the kernel's own; what it needs is loaded first"
        " (default: those of kmod-harness.toml, built first)",
    )
    add_parameter_option(parser)
    parser.add_argument(
        "--push",
        action="append",
        default=[],
        metavar="HOST[:GUEST]",
        help="copy a file or directory into the guest (default: to /kmod-harness/pushed, where COMMAND runs)",
    )
    parser.add_argument(
        "--timeout",
        type=positive_seconds,
        default=None,
        metavar="SECONDS",
        help="for each load, the command, and each unload (default: 60)",
    )
    parser.add_argument(
        "--skip-status",
        default="4",
        metavar="STATUS,...",
        help="COMMAND's exit statuses that mean skipped (default: 4, kselftest's; automake has 77, LTP 32)",
    )
    parser.add_argument(
        "--expect-splat",
        action="append",
        default=[],
        metavar="KIND[:PATTERN]",
        help="a report that must come and is no failure: OOPS, BUG, WARNING, PANIC, ... (of "
        "this function or title); a command it kills is not held to have failed",
    )
    parser.add_argument(
        "--expect-load-error",
        default="",
        metavar="ERRNO",
        help="a load must fail with this, as ENODEV without the hardware; the rest of the run goes on",
    )
    parser.add_argument(
        "--allow-splat",
        action="append",
        metavar="KIND[:PATTERN]",
        help="a report that may come and is no failure; behind `;` may stand title=, function=, times=, "
        "reason=, link=, expires=2027-03-01 (default: those of kmod-harness.toml)",
    )
    parser.add_argument(
        "--settle",
        type=positive_seconds,
        default=0.0,
        metavar="SECONDS",
        help="wait so long after the unload for what fires late: a timer that exit forgot",
    )
    parser.add_argument("--force", action="store_true", help="load without the checks before the boot")
    parser.add_argument(
        "--cold",
        action="store_true",
        help="boot from the first instruction on, not from a saved guest: another KASLR slide",
    )
    parser.add_argument(
        "--bundle",
        metavar="DIR",
        help="where a failure's evidence goes (default: the newest 10 stay in ~/.local/state)",
    )
    parser.add_argument("--no-bundle", action="store_true", help="leave no evidence behind")
    parser.add_argument(
        "--no-leftovers", action="store_true", help="do not look for what modules leave in the kernel"
    )
    parser.add_argument(
        "--dump",
        action="store_true",
        help="keep the guest's memory and state of any failure, not of panics, hangs and oopses alone",
    )
    parser.add_argument("--json", action="store_true", help="stdout is one JSON object and nothing else")
    parser.add_argument("--bisect", action="store_true", help="exit statuses for `git bisect run`")
    add_repository_option(parser)
    add_machine_options(parser)
    parser.set_defaults(execute=execute, takes_command=True, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Runs, reports, and returns the exit status."""
    from kmod_harness.cli.run import session  # lazy
    from kmod_harness.cli.run.live_output import LiveOutput  # lazy
    from kmod_harness.cli.run.record import RunRecord  # lazy
    from kmod_harness.cli.run.report import report, say  # lazy
    from kmod_harness.cli.run.request import read_request  # lazy

    record = RunRecord(live_output=None if args.json else LiveOutput())
    expected: tuple[Expectation, ...] = ()
    skip_statuses: frozenset[int] = frozenset()
    try:
        request = read_request(args)
        expected = request.expected
        skip_statuses = request.skip_statuses
        _note_allowed(record, request)
        session.run(request, record, say, getattr(args, "speculative", None))
    except Exception as error:
        from kmod_harness.host.exceptions import as_harness_error  # lazy

        record.errors.append(as_harness_error(error))
    except BaseException as end:
        if args.json:
            _print_json(_ended_object(record, end, expected))
        raise
    from kmod_harness.cli.run.run_verdict import RunObservations, run_verdict  # lazy

    verdict = run_verdict(
        RunObservations(
            errors=record.errors,
            splats=record.splats,
            cases=record.cases,
            expected=expected,
            allowed=record.allowed,
            has_command=bool(record.command),
            status=record.completed.status if record.completed else None,
            pid=record.completed.pid if record.completed else None,
            how=record.command_end.text if record.command_end else "",
            skip_statuses=skip_statuses,
        )
    )
    if verdict.outcome.exit_status not in (ExitStatus.PASSED, ExitStatus.USAGE):
        record.bundle = _leave_bundle(args, request, record, verdict, expected)
    if record.kept.guest_directory is not None:
        from kmod_harness.lifecycle.failing_state import discard  # lazy

        # of a panic that was expected, or of a bundle that could not be written
        discard(record.kept.guest_directory)
    return _finish(record, verdict, args.json, args.bisect, expected, report)


def _note_allowed(record: RunRecord, request: RunRequest) -> None:
    """Notes which reports may come today."""
    today = date.today()
    record.allowed = [one for one in request.allowed if not one.has_expired(today)]
    record.allowed_once = [one for one in request.allowed if one.has_expired(today)]


def _leave_bundle(
    args: argparse.Namespace,
    request: RunRequest,
    record: RunRecord,
    verdict: RunVerdict,
    expected: Sequence[Expectation],
) -> Path | None:
    """Returns where the evidence of a failure is; the verdict stands where none can be left."""
    from kmod_harness.cli.run.evidence import leave_bundle  # lazy
    from kmod_harness.cli.run.record import as_json  # lazy
    from kmod_harness.cli.run.report import say_note  # lazy
    from kmod_harness.host.exceptions import as_harness_error  # lazy

    status = exit_status_for(verdict.outcome.exit_status, bisect=args.bisect)
    found = as_json(record, verdict, status, expected)
    try:
        return leave_bundle(request, record, verdict, found)
    except Exception as error:
        say_note(f"no bundle could be written: {as_harness_error(error)}")
        return None


def report_misuse(error: KmodHarnessError, *, json_wanted: bool, bisect: bool) -> int:
    """Reports a wrong command line as `run` reports everything; returns the exit status."""
    from kmod_harness.cli.run.record import RunRecord  # lazy
    from kmod_harness.cli.run.run_verdict import RunObservations, run_verdict  # lazy

    record = RunRecord(errors=[error])
    return _finish(record, run_verdict(RunObservations(errors=record.errors)), json_wanted, bisect, (), None)


def exit_status_for(status: int, *, bisect: bool) -> int:
    """Returns the exit status, for `git bisect run` when asked to."""
    return BISECT_SKIP if bisect and status in _UNTESTABLE else int(status)


def _finish(
    record: RunRecord,
    verdict: RunVerdict,
    json_wanted: bool,
    bisect: bool,
    expected: Sequence[Expectation],
    report: Any,
) -> int:
    from kmod_harness.cli.run.record import as_json  # lazy
    from kmod_harness.cli.streams import drop_output  # lazy

    status = exit_status_for(verdict.outcome.exit_status, bisect=bisect)
    troubles: list[Exception] = []
    delivered = False
    try:
        if json_wanted:
            _print_json(as_json(record, verdict, status, expected))
            delivered = True
        elif record.live_output is not None and record.live_output.trouble is not None:
            troubles.append(record.live_output.trouble)
    except BrokenPipeError:
        # whoever read stdout has gone: the verdict stands
        drop_output()
    except Exception as error:
        troubles.append(error)
    try:
        if report is not None:
            report(record, verdict, expected=expected)
    except Exception as error:
        troubles.append(error)
    if not troubles:
        return status
    from kmod_harness.host.exceptions import as_harness_error  # lazy

    for trouble in troubles:
        print(f"kmod-harness: {as_harness_error(trouble)}", file=sys.stderr)
    # what failed has failed, and an object that was printed holds; what passed could not be told
    return status if delivered else status or exit_status_for(ExitStatus.USAGE, bisect=bisect)


def _ended_object(
    record: RunRecord, end: BaseException, expected: Sequence[Expectation]
) -> Mapping[str, Any]:
    """Returns the JSON object of a run that a signal ended."""
    from kmod_harness.cli.run.record import as_json  # lazy
    from kmod_harness.cli.run.run_verdict import RunVerdict  # lazy
    from kmod_harness.cli.signals import INTERRUPTED  # lazy
    from kmod_harness.klog.outcome import Outcome  # lazy

    status = int(getattr(end, "exit_status", INTERRUPTED))
    record.errors.append(end)
    found = as_json(record, RunVerdict(Outcome.SETUP_ERROR, f"{type(end).__name__}: {end}"), status, expected)
    return {**found, "outcome": "interrupted"}


def _print_json(found: Mapping[str, Any]) -> None:
    json.dump(found, sys.stdout)
    print(flush=True)
