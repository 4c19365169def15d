"""`kmod-harness modules`: kernel modules built by plain kbuild against a kernel that is here."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmod_harness.cli.machine_options import add_kernel_option
from kmod_harness.cli.repository_defaults import (
    add_repository_option,
    modules_of_repository,
    names_modules,
    with_repository,
)

if TYPE_CHECKING:
    from kmod_harness.build.kernel.kernel import Kernel


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("modules", help="build modules against a kernel, print the .ko files")
    parser.add_argument(
        "directory",
        nargs="?",
        default="",
        metavar="DIR",
        help="a module's sources, with Makefile or Kbuild (default: what kmod-harness.toml names, else the"
        " sample modules)",
    )
    parser.add_argument(
        "--out",
        default="",
        metavar="DIR",
        help="build a copy there, warnings as errors (default: DIR itself, or build/modules for the samples)",
    )
    add_repository_option(parser)
    add_kernel_option(parser)
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Builds, then prints the paths of the .ko files, one a line."""
    from kmod_harness.build.cache import default_cache  # lazy
    from kmod_harness.build.kernel.known import resolve_kernel  # lazy
    from kmod_harness.build.modules import build_modules, build_modules_in_place, require_makefile  # lazy
    from kmod_harness.errors import Misuse  # lazy
    from kmod_harness.host.resources import data_directory  # lazy
    from kmod_harness.spec.spec import Spec  # lazy

    if args.directory:
        # before a kernel that may not be built yet
        require_makefile(Path(args.directory))
    args = with_repository(args)
    spec = Spec(kernel=args.kernel, kconfig=tuple(args.kconfig))
    if not args.directory and names_modules(args):
        if args.out:
            raise Misuse(
                "--out builds a copy of a directory: give that DIR too",
                advice="kmod-harness modules DIR --out OUT",
            )
        for word in modules_of_repository(args, spec):
            print(word)
        return 0
    kernel = resolve_kernel(spec)
    if args.directory and not args.out:
        source = Path(args.directory)
        log = default_cache().root / "logs" / "modules.log"
        built = build_modules_in_place(source, kernel, log)
    else:
        source = Path(args.directory) if args.directory else data_directory("modules")
        built = build_modules(source, kernel, Path(args.out) if args.out else sample_directory(kernel))
    for path in built:
        print(path)
    return 0


def sample_directory(kernel: Kernel) -> Path:
    """Returns where the sample modules for a kernel are built: in the checkout, else here."""
    from kmod_harness.host.resources import checkout  # lazy
    from kmod_harness.spec.kernel_name import DEBIAN, HOST, MINIMAL  # lazy

    base = (checkout() or Path.cwd()) / "build"
    if kernel.name == MINIMAL:
        return base / "modules"
    suffix = kernel.name if kernel.name in (DEBIAN, HOST) else kernel.release
    return base / f"modules-{suffix}"
