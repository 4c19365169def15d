"""`kmod-harness nightly`: the guest suite over kernels, CPUs and KASLR, always from cold boots."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from kmod_harness.cli.machine_options import positive_seconds

_EPILOG = """\
What stands behind `--` goes to every pytest. Each cell leaves junit.xml and
pytest.log in OUT/CELL; OUT holds summary.txt and summary.md.

Exit status: the first of 7 (QEMU died), 4 (panic), 3 (splat), 5 (hang), 6 (boot failed),
2 (set-up), 1 (failed), 8 (nothing tested) seen in any cell.
"""


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "nightly", help="run a suite over a matrix of machines, with one summary", epilog=_EPILOG
    )
    parser.add_argument(
        "suite", nargs="*", default=["tests/guest"], metavar="SUITE", help="tests (default: tests/guest)"
    )
    parser.add_argument(
        "--out", default="build/nightly", metavar="DIR", help="where results go (default: build/nightly)"
    )
    parser.add_argument(
        "--kernel",
        action="append",
        default=[],
        metavar="NAME|PATH",
        help="a kernel of the matrix; may be repeated (default: minimal and debian)",
    )
    parser.add_argument(
        "--cpus",
        action="append",
        type=int,
        default=[],
        metavar="N",
        help="a number of CPUs of the matrix; may be repeated (default: 1 and 2)",
    )
    parser.add_argument(
        "--limit",
        type=positive_seconds,
        default=1800.0,
        metavar="SECONDS",
        help="how long one cell may take (default: 1800); longer is a hang",
    )
    parser.set_defaults(execute=execute, parser=parser, takes_command=True)


def execute(args: argparse.Namespace) -> int:
    """Runs the matrix, writes the summaries, prints the one for people."""
    from kmod_harness.nightly.cells import Suite, overall, run_matrix  # lazy
    from kmod_harness.nightly.matrix import Matrix  # lazy
    from kmod_harness.nightly.summary import markdown_summary, text_summary  # lazy

    default = Matrix()
    matrix = Matrix(tuple(args.kernel) or default.kernels, tuple(args.cpus) or default.cpus)
    run = Suite(tuple(args.suite), tuple(args.command or ()), args.limit)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    results = run_matrix(matrix, run, out, _prepare, lambda line: print(line, flush=True))
    (out / "summary.md").write_text(markdown_summary(results))
    (out / "summary.txt").write_text(text_summary(results))
    print(f"\n{text_summary(results, sys.stdout)}", end="")
    return int(overall(results).exit_status)


def _prepare(kernel_name: str) -> None:
    """Builds what the tests of a kernel need: a test never compiles."""
    from kmod_harness.build.kernel.known import resolve_kernel  # lazy
    from kmod_harness.build.modules import build_modules  # lazy
    from kmod_harness.cli.commands.modules import sample_directory  # lazy
    from kmod_harness.host.resources import data_directory  # lazy
    from kmod_harness.spec.spec import Spec  # lazy

    kernel = resolve_kernel(Spec(kernel=kernel_name), build=True)
    build_modules(data_directory("modules"), kernel, sample_directory(kernel))
