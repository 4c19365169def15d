"""`kmod-harness verify`: load modules in a guest and account for every byte of them."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from kmod_harness.cli.machine_options import STEP_SECONDS, add_machine_options, positive_seconds
from kmod_harness.cli.parameters import add_parameter_option, assign_parameters
from kmod_harness.cli.repository_defaults import (
    add_repository_option,
    modules_of_repository,
    with_repository,
)
from kmod_harness.errors import Misuse

if TYPE_CHECKING:
    from kmod_harness.cli.verify.record import VerifyRecord
    from kmod_harness.cli.verify.request import VerifyPlan
    from kmod_harness.guest.guest import Guest
    from kmod_harness.lifecycle.prepare import Prepared

_EPILOG = """\
MODULE is a .ko file, or the name of a module of the kernel's own (--kernel debian has a tree of them);
what it depends on is loaded first, from that tree.

Each byte the kernel keeps of the module is read from outside, with the machine stopped, and compared with
what relocation by the kernel's own symbols gives. What differs must be what the kernel's self-patching code
writes there, which is replayed from the module's own tables; a byte that nothing explains is a finding.

exit status:
  0 everything is explained   1 something is not
  2 usage or set-up, or part of it could not be verified
  3 kernel splat   4 panic   5 hang   6 boot failed   7 QEMU died

examples:
  kmod-harness verify my.ko
  kmod-harness verify xfs btrfs nfs --kernel debian --with-dependencies
  kmod-harness verify my.ko --differences --json
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "verify",
        help="prove byte by byte how modules were loaded",
        usage="kmod-harness verify [MODULE ...] [options]",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "modules",
        nargs="*",
        metavar="MODULE",
        help="a .ko, or a name of the kernel's own (default: those of kmod-harness.toml, built first)",
    )
    add_parameter_option(parser)
    parser.add_argument(
        "--with-dependencies", action="store_true", help="verify what the modules depend on too"
    )
    parser.add_argument(
        "--differences",
        action="store_true",
        help="list each place of the text that was changed, with both codes",
    )
    parser.add_argument("--cold", action="store_true", help="boot from the first instruction on")
    parser.add_argument(
        "--timeout",
        type=positive_seconds,
        default=None,
        metavar="SECONDS",
        help="for each load (default: 60)",
    )
    parser.add_argument("--json", action="store_true", help="stdout is one JSON object and nothing else")
    add_repository_option(parser)
    add_machine_options(parser)
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Boots, loads, verifies, reports, and returns the exit status."""
    from kmod_harness.cli.run.report import say  # lazy
    from kmod_harness.cli.verify import show  # lazy
    from kmod_harness.cli.verify.record import VerifyRecord  # lazy
    from kmod_harness.host.exceptions import as_harness_error  # lazy

    record = VerifyRecord()
    try:
        _run(args, record)
    except Exception as error:
        record.errors.append(as_harness_error(error))
    outcome = record.outcome
    if args.json:
        from kmod_harness.cli.verify.as_json import as_json  # lazy

        json.dump(as_json(record, outcome, differences=args.differences), sys.stdout)
        print(flush=True)
    elif record.report is not None:
        show.show(record.report, record, differences=args.differences)
    for line in show.troubles(record):
        say(line)
    say(show.last_line(record, outcome))
    return int(outcome.exit_status)


def _run(args: argparse.Namespace, record: VerifyRecord) -> None:
    from kmod_harness.cli.given_modules import read_given  # lazy
    from kmod_harness.cli.machine_options import spec_from  # lazy
    from kmod_harness.cli.verify.request import plan  # lazy
    from kmod_harness.lifecycle.boot import boot  # lazy
    from kmod_harness.lifecycle.prepare import prepare  # lazy

    args = with_repository(args)
    spec = spec_from(args)
    words = args.modules or modules_of_repository(args, spec)
    if not words:
        raise Misuse("no module is given", advice="kmod-harness verify MODULE.ko")
    given = read_given(words)
    record.prepared = prepare(spec, module=given.first_module)
    record.plan = plan(given, record.prepared, with_dependencies=args.with_dependencies)
    with boot(record.prepared, cold=args.cold, boot_timeout=args.boot_timeout) as guest:
        _load_and_verify(guest, args, record, record.plan, record.prepared)


def _load_and_verify(
    guest: Guest, args: argparse.Namespace, record: VerifyRecord, plan: VerifyPlan, prepared: Prepared
) -> None:
    from kmod_harness.guest.dependencies import load_planned  # lazy
    from kmod_harness.verify.verify_modules import verify_modules  # lazy

    parameters = assign_parameters(args.param, plan.targets)
    mark = guest.kernel_log.mark()
    missing = set()
    for load in plan.order:
        if load.is_given:
            guest.check_before_loading(load.module)
        loaded = load_planned(
            guest,
            load,
            parameters.get(load.module.name, {}),
            process=guest.process(),
            timeout=args.timeout or STEP_SECONDS,
        )
        if loaded is None:
            missing.add(load.module.name)
    record.plan = plan = plan.without(missing)
    record.report = verify_modules(guest, prepared.kernel, plan.targets, plan.known)
    record.splats = guest.judge(mark)
