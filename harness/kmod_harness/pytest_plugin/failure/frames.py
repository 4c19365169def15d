"""Whose frames a traceback holds: the test's and its fixtures', which are shown, or ours."""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType, TracebackType

import pytest

from kmod_harness.errors import GUESTS_ANSWER, KmodHarnessError

_OURS = "kmod_harness"
#: Whose frames say nothing about the test.
_INTERNAL = ("_pytest", "pluggy", "contextlib", "xdist", _OURS)
_HIDDEN = "(frames of kmod_harness are hidden: pytest --full-trace shows them)"


def package_of(frame: FrameType) -> str:
    """Return the name of the package whose code the frame runs."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def is_users(frame: FrameType) -> bool:
    """Return whether a frame is of a test, of a fixture or of what they call, ours and pytest's aside."""
    return package_of(frame) not in _INTERNAL


def hide_own_frames(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Take our frames out of the tracebacks of an exception and of those it is chained to.

    What a call to the guest fails with is then shown at the caller's line. A traceback without a caller
    stays whole. Of what may be a fault of ours a note tells that there is more to see.
    """
    for error in _chain(excinfo.value, set()):
        entries = list(_entries(error.__traceback__))
        first = next((index for index, entry in enumerate(entries) if is_users(entry.tb_frame)), len(entries))
        if not any(package_of(entry.tb_frame) == _OURS for entry in entries[first:]):
            continue
        if package_of(entries[-1].tb_frame) == _OURS and not _is_told(error):
            error.add_note(_HIDDEN)
        error.__traceback__ = _linked(entries)
    excinfo.traceback = pytest.ExceptionInfo.from_exception(excinfo.value).traceback


def _is_told(error: BaseException) -> bool:
    """Return whether the exception itself says all: one of ours, or a guest's answer to a system call."""
    return isinstance(error, KmodHarnessError) or GUESTS_ANSWER in getattr(error, "__notes__", ())


def _chain(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    yield from _chain(error.__cause__, seen)
    yield from _chain(error.__context__, seen)
    for inner in getattr(error, "exceptions", ()) if isinstance(error, BaseExceptionGroup) else ():
        yield from _chain(inner, seen)


def _entries(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _linked(entries: list[TracebackType]) -> TracebackType | None:
    """Return a traceback of the entries that are not ours, nor contextlib's on the way to one of ours."""
    made: TracebackType | None = None
    hides = False
    for entry in reversed(entries):
        package = package_of(entry.tb_frame)
        hides = package == _OURS or (hides and package == "contextlib")
        if not hides:
            made = TracebackType(made, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return made
