"""`kmod-harness`: from the command line to an exit status."""

from __future__ import annotations

import atexit
import contextlib
import gc
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kmod_harness.cli.signals import BROKEN_PIPE, INTERRUPTED, Terminated, terminating_signals
from kmod_harness.cli.streams import drop_output, prepare_streams
from kmod_harness.errors import BISECT_SKIP, ExitStatus, KmodHarnessError

if TYPE_CHECKING:
    from kmod_harness.cli.run.speculative_restore import SpeculativeRestore

#: Objects made between two searches for cycles; Python's own 700 has a `run` search 50 times.
_GC_THRESHOLD = 100_000


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; nothing gives a traceback, not even a bug of ours."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        # 30 ms of a `run`, half of them at its end: a process of our own leaves its memory to the kernel
        gc.set_threshold(_GC_THRESHOLD)
        atexit.register(gc.freeze)
        prepare_streams()
    try:
        with terminating_signals():
            return _run(arguments)
    except KeyboardInterrupt:
        print("kmod-harness: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Terminated as signal:
        print(f"kmod-harness: {signal}", file=sys.stderr)
        return signal.exit_status
    except BrokenPipeError:
        drop_output()
        return BROKEN_PIPE
    except Exception as error:
        # what tells of a failure has failed itself; 1 would say that a test did
        print(f"kmod-harness: internal error: {error!r}", file=sys.stderr)
        ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
        return BISECT_SKIP if "--bisect" in ours else int(ExitStatus.USAGE)


def _has(arguments: list[str], word: str) -> bool:
    from kmod_harness.cli.parser import split_command  # lazy

    return word in split_command(arguments)[0]


def _speculative_restore(
    arguments: list[str],
) -> contextlib.AbstractContextManager[SpeculativeRestore | None]:
    """Starts the guest that a `run` with this command line led to last time, before the line is parsed."""
    if arguments[:1] != ["run"] or "--cold" in arguments:
        return contextlib.nullcontext()
    from kmod_harness.cli.run.speculative_restore import SpeculativeRestore  # lazy

    return SpeculativeRestore(arguments)


def _run(arguments: list[str]) -> int:
    with _speculative_restore(arguments) as speculative:
        return _parse_and_execute(arguments, speculative)


def _parse_and_execute(arguments: list[str], speculative: SpeculativeRestore | None) -> int:
    try:
        status = _executed(arguments, speculative)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        raise
    except Exception as error:
        from kmod_harness.host.exceptions import as_harness_error  # lazy

        return _report(arguments, as_harness_error(error))


def _executed(arguments: list[str], speculative: SpeculativeRestore | None) -> int:
    from kmod_harness.cli.parser import parse  # lazy

    try:
        args = parse(arguments)
    except SystemExit as end:
        # argparse has printed --help
        return int(end.code or 0)
    args.speculative = speculative
    if args.version:
        from kmod_harness.host.version import __version__  # lazy

        print(f"kmod-harness {__version__}")
        return 0
    return int(args.execute(args))


def _report(arguments: list[str], error: KmodHarnessError) -> int:
    """Says what went wrong, as one JSON object too where a `run` was to give one; returns the exit status."""
    from kmod_harness.cli.parser import UsageError  # lazy

    usage = f"{error.usage}\n" if isinstance(error, UsageError) else ""
    from kmod_harness.report.columns import error_lines  # lazy

    print(usage + "\n".join(error_lines(error, begin="kmod-harness: ")), file=sys.stderr)
    if next((word for word in arguments if not word.startswith("-")), "") != "run":
        return int(error.exit_status)
    from kmod_harness.cli.run.command import report_misuse  # lazy

    return report_misuse(error, json_wanted=_has(arguments, "--json"), bisect=_has(arguments, "--bisect"))


if __name__ == "__main__":
    sys.exit(main())
