"""`kmod-harness symbolize`: a kernel log with source lines."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmod_harness.kmod.elf.module import KernelModule


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "symbolize",
        help="a kernel log with source lines, the line at fault and its instructions",
        description="Adds file:line to each frame of a kernel log, inlined functions included, from the debug"
        " information of vmlinux and modules; shows the source and the instructions at fault.",
    )
    parser.add_argument("log", nargs="?", default="-", help="the log of a serial console (default: stdin)")
    parser.add_argument("--kernel", default="minimal", help="whose vmlinux: minimal, or a directory")
    parser.add_argument("--vmlinux", metavar="FILE", help="a vmlinux with debug information")
    parser.add_argument(
        "--module", action="append", default=[], metavar="MODULE.ko", help="a module in the log; repeatable"
    )
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Prints the log with places; raises Misuse for a file that is not there or not what it should be."""
    from kmod_harness.errors import Misuse  # lazy
    from kmod_harness.kmod.symbols.symbolizer import Symbolizer  # lazy
    from kmod_harness.report.symbolized import symbolized  # lazy

    if args.log == "-":
        log = sys.stdin.buffer.read()
    elif Path(args.log).is_file():
        log = Path(args.log).read_bytes()
    else:
        raise Misuse(f"there is no log {args.log}", advice="kmod-harness symbolize LOG, or the log on stdin")
    print(symbolized(log, Symbolizer(_vmlinux(args), _modules(args.module))))
    return 0


def _vmlinux(args: argparse.Namespace) -> Path | None:
    from kmod_harness.build.kernel.known import resolve_kernel  # lazy
    from kmod_harness.errors import Misuse  # lazy
    from kmod_harness.spec.spec import Spec  # lazy

    if args.vmlinux is None:
        return resolve_kernel(Spec(kernel=args.kernel)).vmlinux
    path = Path(args.vmlinux)
    if not path.is_file():
        raise Misuse(f"there is no vmlinux {path}", advice="--vmlinux takes kbuild's, not a bzImage")
    return path


def _modules(paths: list[str]) -> list[KernelModule]:
    from kmod_harness.kmod.elf.module import read_module  # lazy

    return [read_module(path) for path in paths]
