"""`kmod-harness`: from the command line to an exit status."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ExitStatus, KmodHarnessError
from .signals import Terminated, terminating_signals

if TYPE_CHECKING:
    from .ahead import Ahead
    from .parser import UsageError

#: Objects made between two searches for cycles; Python's own 700 has a `run` search 50 times.
_GC_THRESHOLD = 100_000
#: What a shell reports for a process that SIGINT or SIGPIPE ended: 128 plus the signal's number.
INTERRUPTED = 130
BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status; nothing but a bug of ours gives a traceback."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        # 30 ms of a `run`, half of them at its end: a process of our own leaves its memory to the kernel
        gc.set_threshold(_GC_THRESHOLD)
        atexit.register(gc.freeze)
    try:
        with terminating_signals():
            status = _run(arguments)
            sys.stdout.flush()
            return status
    except KeyboardInterrupt:
        print("kmod-harness: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Terminated as signal:
        print(f"kmod-harness: {signal}", file=sys.stderr)
        return signal.exit_status
    except BrokenPipeError:
        drop_output()
        return BROKEN_PIPE


def drop_output() -> None:
    """Points stdout at nothing: whoever read it is gone, and Python flushes it once more at its end."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def _started_ahead(arguments: list[str]) -> contextlib.AbstractContextManager[Ahead | None]:
    """Starts what a `run` of these words led to last time, before the command line is even parsed."""
    if arguments[:1] != ["run"] or "--cold" in arguments:
        return contextlib.nullcontext()
    from .ahead import Ahead

    return Ahead(arguments)


def _run(arguments: list[str]) -> int:
    with _started_ahead(arguments) as ahead:
        return _parse_and_execute(arguments, ahead)


def _parse_and_execute(arguments: list[str], ahead: Ahead | None) -> int:
    from .parser import UsageError, parse

    try:
        args = parse(arguments)
        args.ahead = ahead
        if args.version:
            from .. import __version__

            print(f"kmod-harness {__version__}")
            return 0
        status: int = args.execute(args)
        return status
    except UsageError as error:
        return _report_usage(arguments, error)
    except KmodHarnessError as error:
        print(f"kmod-harness: {error}", file=sys.stderr)
        return int(error.exit_status)
    except BrokenPipeError:
        raise
    except OSError as error:
        # a full disk, a directory that may not be written: the machine's state, not a bug
        print(f"kmod-harness: {error}", file=sys.stderr)
        return int(ExitStatus.USAGE)
    except Exception as error:
        from ..spec import SpecError

        if isinstance(error, SpecError):
            print(f"kmod-harness: {error}", file=sys.stderr)
        else:
            import traceback

            # a bug of ours: not 1, which says that a test failed
            traceback.print_exc()
        return int(ExitStatus.USAGE)


def _report_usage(arguments: list[str], error: UsageError) -> int:
    from .parser import split_command

    print(f"{error.usage}\nkmod-harness: {error}", file=sys.stderr)
    options, _ = split_command(arguments)
    if "run" in options:
        from .run import report_misuse

        return report_misuse(error, json_wanted="--json" in options, bisect="--bisect" in options)
    return int(error.exit_status)


if __name__ == "__main__":
    sys.exit(main())
