"""The request of a `run`, read from its arguments and checked as far as no boot is needed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kmod_harness.cli.given_modules import GivenModules, read_given
from kmod_harness.cli.machine_options import STEP_SECONDS, spec_from
from kmod_harness.cli.repository_defaults import modules_of_repository, names_modules, with_repository
from kmod_harness.cli.run.command_end import parse_statuses
from kmod_harness.cli.run.pushed import Push, parse_push
from kmod_harness.cli.run.run_verdict import SKIP_STATUSES
from kmod_harness.errors import Misuse, ModuleFileError

if TYPE_CHECKING:
    from kmod_harness.klog.expected.allowance import Allowance
    from kmod_harness.klog.expected.expectation import Expectation
    from kmod_harness.spec.spec import Spec


@dataclass(frozen=True)
class RunRequest:
    """given: the modules. parameters: as they were typed. timeout: seconds of each step.

    expected_load_error: the errno with which a load must fail.
    settle: seconds between the unload and the verdict. words: a command line that asks for the same.
    """

    spec: Spec
    given: GivenModules
    parameters: tuple[str, ...]
    command: tuple[str, ...]
    pushes: tuple[Push, ...]
    timeout: float
    boot_timeout: float | None
    expected: tuple[Expectation, ...]
    force: bool = False
    cold: bool = False
    settle: float = 0.0
    words: tuple[str, ...] = ()
    bundle: Path | None = None
    keeps_bundle: bool = True
    dump: bool = False
    skip_statuses: frozenset[int] = SKIP_STATUSES
    allowed: tuple[Allowance, ...] = ()
    expected_load_error: int | None = None
    leftovers: bool = True


def read_request(args: argparse.Namespace) -> RunRequest:
    """Returns the request; without a module in the arguments it is about the repository's, which are built.

    Raises Misuse, SpecError, BuildFailed: whatever is wrong with it before anything is booted.
    """
    args = with_repository(args)
    if not args.modules and not args.command and not names_modules(args):
        raise Misuse(
            "nothing to do: no module and no command",
            advice="kmod-harness run MODULE.ko, or kmod-harness run -- COMMAND"
            "\n-> in the repository of a module, kmod-harness init first",
        )
    if args.command == []:
        raise Misuse("there is no command behind `--`")
    spec = spec_from(args)
    built = [] if args.modules else modules_of_repository(args, spec)
    return RunRequest(
        spec=spec,
        given=_read(args.modules or built),
        parameters=tuple(args.param),
        command=tuple(args.command or ()),
        pushes=tuple(parse_push(text) for text in args.push),
        timeout=args.timeout or STEP_SECONDS,
        boot_timeout=args.boot_timeout,
        expected=tuple(map(read_expectation, args.expect_splat)),
        force=args.force,
        cold=args.cold,
        settle=args.settle,
        words=(*args.words[:1], *built, *args.words[1:]),
        bundle=Path(args.bundle) if args.bundle else None,
        # a bisection would leave one at every bad commit
        keeps_bundle=not args.no_bundle and (bool(args.bundle) or not args.bisect),
        dump=args.dump,
        skip_statuses=_skip_statuses(args.skip_status),
        expected_load_error=_load_error(args.expect_load_error),
        allowed=tuple(map(read_allowance, args.allow_splat or ())),
        leftovers=not args.no_leftovers,
    )


def _skip_statuses(text: str) -> frozenset[int]:
    try:
        return parse_statuses(text)
    except ValueError:
        raise Misuse(
            f"--skip-status takes exit statuses, 1 to 255, not {text!r}", advice="--skip-status 4,77,32"
        ) from None


def _load_error(text: str) -> int | None:
    """Returns the errno of a name such as ENODEV or of a number, None for "". Raises Misuse."""
    if not text:
        return None
    import errno  # lazy: rarely asked for

    numbers = {name: number for number, name in errno.errorcode.items()}
    number = numbers.get(text.upper(), int(text) if text.isdecimal() else 0)
    if not 0 < number < 4096:
        raise Misuse(f"--expect-load-error takes an errno, as ENODEV or 19, not {text!r}")
    return number


def read_expectation(text: str) -> Expectation:
    """Returns what KIND or KIND:PATTERN expects; the kind in any case, `-` for `_`.

    Raises Misuse listing the kinds.
    """
    from kmod_harness.klog.expected.expectation import parse_expectation  # lazy
    from kmod_harness.klog.kinds import SplatKind  # lazy

    try:
        return parse_expectation(text)
    except ValueError:
        raise Misuse(
            f"--expect-splat: there is no kind {text.partition(':')[0]!r}",
            evidence=", ".join(kind.value for kind in SplatKind),
        ) from None


def read_allowance(text: str) -> Allowance:
    """Returns what `KIND[:PATTERN][; NAME=VALUE ...]` allows. Raises Misuse that says what is wrong."""
    from kmod_harness.klog.expected.allowance import parse_allowance  # lazy
    from kmod_harness.klog.kinds import SplatKind  # lazy

    try:
        return parse_allowance(text)
    except ValueError as error:
        is_of_kind = "kind" in str(error)
        raise Misuse(
            f"--allow-splat {text}: {error}",
            evidence=", ".join(kind.value for kind in SplatKind) if is_of_kind else "",
            advice='"KIND:PATTERN; times=2; reason=why; link=where; expires=2027-03-01"',
        ) from None


def _read(words: Sequence[str]) -> GivenModules:
    try:
        return read_given(words)
    except ModuleFileError as error:
        if not error.advice and ".ko" not in error.message:
            error.advice = "a command for the guest goes behind `--`"
        raise
