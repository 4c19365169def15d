"""`kmod-harness modules`: kernel modules built, as their directory says, for a kernel that is here."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
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


_SETTING = re.compile(r"[A-Za-z_][\w.-]*=")


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("modules", help="build modules against a kernel, print the .ko files")
    parser.add_argument(
        "directory",
        nargs="?",
        default="",
        metavar="DIR",
        help="a module's sources, with dkms.conf, Makefile or Kbuild, or directories of such (default: what"
        " kmod-harness.toml names, else the sample modules)",
    )
    parser.add_argument(
        "settings", nargs="*", default=[], metavar="NAME=VALUE", help="variables for make, as CONFIG_MINE=m"
    )
    parser.add_argument(
        "--out",
        default="",
        metavar="DIR",
        help="build a copy there, kbuild's warnings as errors (default: DIR itself, or build/modules for the"
        " samples)",
    )
    add_repository_option(parser)
    add_kernel_option(parser)
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Builds, then prints the paths of the .ko files, one a line, also where another failed."""
    from kmod_harness.build.kernel.known import resolve_kernel  # lazy
    from kmod_harness.build.ways.way import require_sources  # lazy
    from kmod_harness.errors import BuildFailed, Misuse  # lazy
    from kmod_harness.spec.spec import Spec  # lazy

    for word in args.settings:
        if not _SETTING.match(word):
            raise Misuse(f"{word!r} is no variable for make; expected NAME=VALUE behind one directory")
    if args.directory:
        # before a kernel that may not be built yet
        require_sources(Path(args.directory))
    args = with_repository(args)
    spec = Spec(kernel=args.kernel, kconfig=tuple(args.kconfig))
    try:
        if not args.directory and names_modules(args):
            if args.out:
                raise Misuse(
                    "--out builds a copy of a directory: give that DIR too",
                    advice="kmod-harness modules DIR --out OUT",
                )
            built = modules_of_repository(args, spec)
        else:
            built = list(map(str, _build(args, resolve_kernel(spec))))
    except BuildFailed as failure:
        _print_paths(failure.built)
        raise
    _print_paths(built)
    return 0


def _build(args: argparse.Namespace, kernel: Kernel) -> tuple[Path, ...]:
    from kmod_harness.build.cache import default_cache  # lazy
    from kmod_harness.build.modules import build_modules, build_modules_in_place  # lazy
    from kmod_harness.host.resources import data_directory  # lazy

    if args.directory and not args.out:
        log = default_cache().root / "logs" / "modules.log"
        return build_modules_in_place(Path(args.directory), kernel, log, settings=args.settings, say=_say)
    if not args.directory:
        out = Path(args.out) if args.out else sample_directory(kernel)
        return build_modules(data_directory("modules"), kernel, out)
    return build_modules(Path(args.directory), kernel, Path(args.out), settings=args.settings, say=_say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print_paths(paths: Iterable[Path | str]) -> None:
    for path in paths:
        print(path)


def sample_directory(kernel: Kernel) -> Path:
    """Returns where the sample modules for a kernel are built: in the checkout, else here."""
    from kmod_harness.host.resources import checkout  # lazy
    from kmod_harness.spec.kernel_name import DEBIAN, HOST, MINIMAL  # lazy

    base = (checkout() or Path.cwd()) / "build"
    if kernel.name == MINIMAL:
        return base / "modules"
    suffix = kernel.name if kernel.name in (DEBIAN, HOST) else kernel.release
    return base / f"modules-{suffix}"
