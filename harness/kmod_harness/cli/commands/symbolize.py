"""`kmod-harness symbolize`: a kernel log with source lines."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmod_harness.build.kernel.kernel import Kernel
    from kmod_harness.klog.splats import Splat
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
        "--module",
        action="append",
        default=[],
        metavar="MODULE.ko",
        help="a module in the log, or its .ko.debug; repeatable",
    )
    parser.set_defaults(execute=execute, parser=parser)


def execute(args: argparse.Namespace) -> int:
    """Prints the log with places; raises Misuse for a file that is not there or not what it should be."""
    from kmod_harness.errors import Misuse  # lazy
    from kmod_harness.klog.splats import find_splats  # lazy
    from kmod_harness.klog.syslog.prefixes import parse_copied_log  # lazy
    from kmod_harness.kmod.elf.split_debug import read_symbols  # lazy
    from kmod_harness.kmod.symbols.symbolizer import Symbolizer  # lazy
    from kmod_harness.report.symbolized import symbolized  # lazy

    if args.log == "-":
        log = sys.stdin.buffer.read()
    elif Path(args.log).is_file():
        log = Path(args.log).read_bytes()
    else:
        raise Misuse(f"there is no log {args.log}", advice="kmod-harness symbolize LOG, or the log on stdin")
    kernel = None if args.vmlinux is not None else _kernel(args.kernel)
    modules = [read_symbols(path) for path in args.module]
    symbolizer = Symbolizer(kernel.vmlinux if kernel else _vmlinux(args.vmlinux), modules)
    print(symbolized(log, symbolizer))
    damaged = [
        f"the debug information of {name or 'vmlinux'} is damaged, and gives no source lines: {why}"
        for name, why in symbolizer.unreadable.items()
    ]
    _say_doubts(find_splats(parse_copied_log(log)), modules, kernel.release if kernel else "", damaged)
    return 0


def _kernel(name: str) -> Kernel:
    from kmod_harness.build.kernel.known import resolve_kernel  # lazy
    from kmod_harness.spec.spec import Spec  # lazy

    return resolve_kernel(Spec(kernel=name))


def _vmlinux(text: str) -> Path:
    from kmod_harness.errors import Misuse  # lazy

    path = Path(text)
    if not path.is_file():
        raise Misuse(f"there is no vmlinux {path}", advice="--vmlinux takes kbuild's, not a bzImage")
    return path


def _say_doubts(
    splats: Sequence[Splat], modules: Sequence[KernelModule], release: str, damaged: Sequence[str]
) -> None:
    """Says which lines may be missing or wrong, since the files are not those of the log."""
    from kmod_harness.report.columns import wrapped  # lazy
    from kmod_harness.report.other_build import reasons_for_another_build, releases_in  # lazy
    from kmod_harness.report.without_lines import notes_on_missing_lines  # lazy

    notes = [*damaged]
    notes += [
        f"the log is of another build of {name}, so that its source lines may be wrong: {reason}"
        for name, reason in reasons_for_another_build(splats, modules).items()
    ]
    others = [other for other in releases_in(splats) if release and other != release]
    if others:
        notes.append(
            f"the log is of Linux {', '.join(others)}, the kernel's own lines are of {release}: another"
            " --kernel, or its --vmlinux"
        )
    notes += notes_on_missing_lines(splats, modules)
    for note in notes:
        print("\n".join(wrapped(f"note: {note}", further="      ")), file=sys.stderr)
