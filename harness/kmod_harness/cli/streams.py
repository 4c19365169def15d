"""The three standard streams as a process may find them: closed, full, of a locale that cannot say all."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from typing import TextIO

_ERRORS = "kmod-harness"


class _Unfailing(io.FileIO):
    """A descriptor for what is said in passing: that nobody can read it changes no verdict."""

    def write(self, data: object) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError:
            return len(memoryview(data))  # type: ignore[arg-type]


def prepare_streams() -> None:
    """Makes stdin, stdout and stderr usable, whatever this process was started with.

    A closed one is open on /dev/null afterwards, so that no file of ours gets its number; writing to
    stdout fails then, as it does on a full disk, since what is printed there is what was asked for.
    What stderr cannot take is dropped. Neither fails for a character that its encoding does not have.
    """
    for number in range(3):
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
    codecs.register_error(_ERRORS, _byte_or_escape)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=_ERRORS)
    sys.stderr = _unfailing_stderr()


def drop_output() -> None:
    """Points stdout at nothing: it cannot be written, and Python flushes it once more at its end."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def _unfailing_stderr() -> TextIO:
    encoding = sys.stderr.encoding if sys.stderr else None
    raw = io.BufferedWriter(_Unfailing(2, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding=encoding, errors=_ERRORS, line_buffering=True)


def _byte_or_escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """A byte of a path as it was (PEP 383), else an escape such as \\u2192."""
    with contextlib.suppress(UnicodeError):
        return codecs.lookup_error("surrogateescape")(error)
    return codecs.lookup_error("backslashreplace")(error)
