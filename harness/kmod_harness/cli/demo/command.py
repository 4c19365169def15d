"""`kmod-harness demo`: one boot, one module, and what happened in the order it happened."""

from __future__ import annotations

import argparse
from typing import Any

from kmod_harness.cli.machine_options import add_machine_options


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "demo", help="build what is missing, boot, load the sample module, and show what happened"
    )
    add_machine_options(parser)
    parser.add_argument(
        "--source",
        metavar="DIR|TARBALL",
        help="kernel source (default: what `minimal` was built from last, else Debian's)",
    )
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Builds what is missing, runs the demo, returns 0 only if every check held."""
    from kmod_harness.build.modules import build_modules  # lazy
    from kmod_harness.cli.commands.modules import sample_directory  # lazy
    from kmod_harness.cli.demo.show import show  # lazy
    from kmod_harness.cli.machine_options import spec_from  # lazy
    from kmod_harness.host.resources import data_directory  # lazy
    from kmod_harness.lifecycle.prepare import prepare  # lazy

    prepared = prepare(spec_from(args), build=True, kernel_source=args.source)
    built = build_modules(data_directory("modules"), prepared.kernel, sample_directory(prepared.kernel))
    chardev = next(path for path in built if path.name == "chardev.ko")
    return show(prepared, chardev, boot_timeout=args.boot_timeout)
