"""What a `run` is to do, read from its arguments and checked as far as no boot is needed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kmod_harness.cli.machine_options import STEP_SECONDS, spec_from
from kmod_harness.cli.parameters import assign_parameters
from kmod_harness.cli.repository_defaults import modules_of_repository, names_modules, with_repository
from kmod_harness.cli.run.pushed import Push, parse_push
from kmod_harness.errors import Misuse, ModuleFileError
from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.kmod.preflight import load_order, unknown_parameters

if TYPE_CHECKING:
    from kmod_harness.klog.kinds import SplatKind
    from kmod_harness.spec.spec import Spec


@dataclass(frozen=True)
class RunRequest:
    """modules: in load order. parameters: module name -> its parameters. timeout: seconds of each step.

    settle: seconds between the unload and the verdict. words: a command line that asks for the same.
    """

    spec: Spec
    modules: tuple[KernelModule, ...]
    parameters: Mapping[str, Mapping[str, str]]
    command: tuple[str, ...]
    pushes: tuple[Push, ...]
    timeout: float
    boot_timeout: float | None
    expected: frozenset[SplatKind]
    force: bool = False
    cold: bool = False
    settle: float = 0.0
    notes: tuple[str, ...] = field(default=())
    module_words: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    bundle: Path | None = None
    keeps_bundle: bool = True
    dump: bool = False

    @property
    def first_module(self) -> KernelModule | None:
        """The first module that says what kernel it was built for, which chooses the kernel."""
        return next((module for module in self.modules if module.release), None)


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
    paths = args.modules or built
    given = [_read(path) for path in paths]
    parameters = assign_parameters(args.param, given)
    unknown = [
        str(finding)
        for module in given
        for finding in unknown_parameters(module, parameters.get(module.name, {}))
    ]
    if unknown and not args.force:
        raise Misuse("\n".join(unknown), advice="--force passes it to the kernel, which only warns")
    return RunRequest(
        spec=spec,
        modules=load_order(given),
        parameters=parameters,
        command=tuple(args.command or ()),
        pushes=tuple(parse_push(text) for text in args.push),
        timeout=args.timeout or STEP_SECONDS,
        boot_timeout=args.boot_timeout,
        expected=frozenset(splat_kind(text) for text in args.expect_splat),
        force=args.force,
        cold=args.cold,
        settle=args.settle,
        notes=tuple(unknown),
        module_words=tuple(paths),
        words=(*args.words[:1], *built, *args.words[1:]),
        bundle=Path(args.bundle) if args.bundle else None,
        # a bisection would leave one at every bad commit
        keeps_bundle=not args.no_bundle and (bool(args.bundle) or not args.bisect),
        dump=args.dump,
    )


def splat_kind(text: str) -> SplatKind:
    """Returns the kind of that name, in any case, `-` for `_`. Raises Misuse listing the kinds."""
    from kmod_harness.klog.kinds import SplatKind  # lazy

    try:
        return SplatKind(text.upper().replace("-", "_"))
    except ValueError:
        raise Misuse(
            f"--expect-splat: there is no kind {text!r}", evidence=", ".join(kind.value for kind in SplatKind)
        ) from None


def _read(path: str) -> KernelModule:
    try:
        return read_module(path)
    except ModuleFileError as error:
        if not error.advice and ".ko" not in Path(path).name:
            error.advice = "a command for the guest goes behind `--`"
        raise
