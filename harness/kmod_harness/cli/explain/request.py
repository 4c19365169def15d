"""The request of an `explain`: the machine, the module, its needs, and the commands that do it again."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kmod_harness.cli.given_modules import read_given
from kmod_harness.cli.machine_options import spec_from
from kmod_harness.cli.parameters import assign_parameters
from kmod_harness.cli.repository_defaults import modules_of_repository
from kmod_harness.cli.verify.request import plan
from kmod_harness.errors import Misuse
from kmod_harness.explain.observe.experiment import Subject
from kmod_harness.kmod.elf.module import KernelModule, read_module
from kmod_harness.kmod.loading.parameters import Parameter, format_parameters
from kmod_harness.kmod.preflight import unknown_parameters
from kmod_harness.lifecycle.prepare import Prepared, prepare

if TYPE_CHECKING:
    from kmod_harness.spec.spec import Spec

#: The sample driver's open then says in which process it runs.
_SAMPLE_PARAMETERS = {"trace_opens": "1"}


@dataclass(frozen=True)
class ExplainRequest:
    """before: modules that the examined one depends on, in load order.

    shown_path: of its file, as a person here would name it. commands: to see it all again.
    """

    prepared: Prepared
    subject: Subject
    parameters: Mapping[str, Parameter]
    before: tuple[KernelModule, ...]
    shown_path: str
    commands: tuple[str, ...]


def read_request(args: argparse.Namespace) -> ExplainRequest:
    """Returns the request, the repository's modules or the sample driver built if it is about them.

    Raises Misuse, SpecError, BuildFailed.
    """
    spec = spec_from(args)
    if spec.accelerator == "kvm":
        raise Misuse(
            "explain needs software emulation: QEMU's log of executed code stays empty under KVM",
            advice="leave --accel out",
        )
    spec = replace(spec, accelerator="tcg")
    args.modules = args.modules or modules_of_repository(args, spec)
    return _given(args, spec) if args.modules else _sample(args, spec)


def _given(args: argparse.Namespace, spec: Spec) -> ExplainRequest:
    given = read_given(args.modules)
    prepared = prepare(spec, module=given.first_module)
    wanted = plan(given, prepared, with_dependencies=False)
    file = wanted.targets[-1]
    if file.name in {module.name for module in wanted.present}:
        raise Misuse(
            f"{file.name} is loaded by the harness itself, for its channels to the guest",
            advice="explain another module",
        )
    needed = tuple(load.module for load in wanted.order if load.is_required and load.module.name != file.name)
    return _request(args, prepared, file, {}, before=needed, present=wanted.present)


def _sample(args: argparse.Namespace, spec: Spec) -> ExplainRequest:
    from kmod_harness.build.modules import build_modules  # lazy
    from kmod_harness.cli.commands.modules import sample_directory  # lazy
    from kmod_harness.host.resources import data_directory  # lazy

    prepared = prepare(spec, build=True)
    built = build_modules(data_directory("modules"), prepared.kernel, sample_directory(prepared.kernel))
    files = {path.name: read_module(path) for path in built}
    return _request(
        args, prepared, files["chardev.ko"], _SAMPLE_PARAMETERS, dependent=files["chardev_stats.ko"]
    )


def _request(
    args: argparse.Namespace,
    prepared: Prepared,
    file: KernelModule,
    defaults: Mapping[str, Parameter],
    *,
    dependent: KernelModule | None = None,
    before: tuple[KernelModule, ...] = (),
    present: tuple[KernelModule, ...] = (),
) -> ExplainRequest:
    parameters = {**defaults, **assign_parameters(args.param, [file]).get(file.name, {})}
    unknown = unknown_parameters(file, parameters)
    if unknown:
        raise Misuse("\n".join(map(str, unknown)))
    kernel = ("--kernel", args.kernel) if args.kernel else ()
    sample = () if args.modules else ("make explain  # in a checkout of kmod-harness",)
    words = ("kmod-harness", "explain", *args.modules, *kernel)
    given = tuple(f"--param={text}" for text in args.param)
    verify = ("kmod-harness", "verify", _shown(file.path), *kernel)
    return ExplainRequest(
        prepared=prepared,
        subject=Subject(file, format_parameters(parameters), dependent, (*present, *before)),
        parameters=parameters,
        before=before,
        shown_path=_shown(file.path),
        commands=(*sample, shlex.join([*words, *given, "-o", args.out]), shlex.join(verify)),
    )


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
