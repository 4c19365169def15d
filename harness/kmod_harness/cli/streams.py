"""The three standard streams as a process may find them: closed, full, of a locale that cannot say all."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import sys
from typing import TextIO

from kmod_harness.errors import Misuse

_ERRORS = "kmod-harness"


class OutputLost(Misuse):
    """stdout cannot be written: a full disk, a closed descriptor. Not one whose reader has gone."""


class _Waiting(io.FileIO):
    """A descriptor whose full pipe is waited for, even one that does not block (some CI runners, ssh)."""

    def write(self, data: object) -> int:
        while (done := super().write(data)) is None:  # type: ignore[arg-type]
            select.select((), (self.fileno(),), ())
        return done


class _Stdout(_Waiting):
    """A stream of what was asked for: a lost write raises OutputLost, once; the rest is dropped."""

    _is_lost = False

    def write(self, data: object) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            if not self._is_lost:
                self._is_lost = True
                raise OutputLost(f"stdout cannot be written: {error.strerror}") from error
            return len(memoryview(data))  # type: ignore[arg-type]


class _Stderr(_Waiting):
    """A stream of passing remarks: a lost write changes no verdict."""

    def write(self, data: object) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(memoryview(data))  # type: ignore[arg-type]


def prepare_streams() -> None:
    """Makes stdin, stdout and stderr usable, whatever this process was started with.

    A closed one is open on /dev/null afterwards, so that no file of ours gets its number, and such a stdout
    cannot be written. None fails for a character that its encoding does not have.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # the lowest number that is free
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
    codecs.register_error(_ERRORS, _byte_or_escape)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = _as(sys.stdout, _Stdout(1, "w", closefd=False), _ERRORS)
    sys.stderr = _as(sys.stderr, _Stderr(2, "w", closefd=False), "backslashreplace")


def drop_output() -> None:
    """Points stdout at nothing: whoever read it is gone, and Python flushes it once more at its end."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def _as(before: TextIO | None, raw: io.FileIO, errors: str) -> TextIO:
    """Returns a stream that writes to `raw` and is in all else as Python had made it."""
    encoding = before.encoding if before is not None else None
    stream = io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors=errors)
    if isinstance(before, io.TextIOWrapper):
        stream.reconfigure(line_buffering=before.line_buffering, write_through=before.write_through)
    return stream


def _byte_or_escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """A byte of a path as it was (PEP 383), else an escape such as \\u2192."""
    with contextlib.suppress(UnicodeError):
        return codecs.lookup_error("surrogateescape")(error)
    return codecs.lookup_error("backslashreplace")(error)
