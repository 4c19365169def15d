"""The text of a failure that is the harness's: what happened first, where the test was last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from kmod_harness.errors import KmodHarnessError, MachineFailure
from kmod_harness.pytest_plugin.failure.frames import is_users
from kmod_harness.pytest_plugin.failure.last_calls import Place, shown
from kmod_harness.report.columns import error_lines, wrapped

if TYPE_CHECKING:
    from _pytest._io import TerminalWriter


_AT, _AT_REPORT, _ENDED = (
    "the test was at",
    "when the kernel reported it, the test was at",
    "the test itself ended with",
)
_HEADINGS = (_AT, _AT_REPORT, _ENDED)


@dataclass(frozen=True)
class Crash:
    """The line for pytest's summary and JUnit's `message`, and its place."""

    message: str
    path: str = ""
    lineno: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.lineno}: {self.message}"


@dataclass(frozen=True)
class FailureText:
    """A failure as pytest takes it (`longrepr`): the same text in the terminal, in JUnit XML, behind xdist.

    Its first line is all of it that a summary shows, also where a CI system has room for more.
    """

    text: str
    reprcrash: Crash

    def toterminal(self, writer: TerminalWriter) -> None:
        first, *rest = self.text.splitlines()
        writer.line(first, red=True, bold=True)
        for line in rest:
            writer.line(line, red=line.startswith("E   "), bold=line in _HEADINGS)

    def __str__(self) -> str:
        return self.text


def as_failure(text: str, item_path: str = "") -> FailureText:
    """Return a text whose first line says what happened as pytest takes it."""
    return FailureText(text, Crash(text.partition("\n")[0], item_path))


def failure_text(
    item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException], where: Sequence[Place]
) -> FailureText:
    """Return the text of a harness error: its kind first, its evidence, then where the test was.

    where: the test's lines that were under way when the kernel reported it, () where that is not known.
    """
    error = excinfo.value
    assert isinstance(error, KmodHarnessError)
    parts = error_text_lines(error)
    cause = error.__cause__
    told, lines = _at_lines(excinfo)
    if not told and cause is not None and cause.__traceback__ is not None:
        of_cause = pytest.ExceptionInfo.from_exception(cause)
        told, lines = _of_cause(item, of_cause, error)
    parts += told
    if where and (where[-1].file, where[-1].line) not in lines:
        parts += ["", _AT_REPORT if told else _AT]
        parts += shown(where, item.config.invocation_params.dir)
    crash = Crash(_first_line(error), str(item.path), (item.location[1] or 0) + 1)
    return FailureText("\n".join(parts), crash)


def error_text_lines(error: KmodHarnessError) -> list[str]:
    """Return the message (of a kernel's report the function at fault first), the evidence and the advice."""
    headline = error.headline if isinstance(error, MachineFailure) else ""
    if not headline:
        return error_lines(error, begin=f"{type(error).__name__}: ")
    more = error_lines(KmodHarnessError("", advice=error.advice)) if error.advice else []
    return [_first_line(error), *wrapped(error.message), "", *error.evidence.splitlines(), *more]


def _first_line(error: KmodHarnessError) -> str:
    headline = error.headline if isinstance(error, MachineFailure) else ""
    return f"{type(error).__name__}: {headline or error.message.partition(chr(10))[0]}"


def _of_cause(
    item: pytest.Item, cause: pytest.ExceptionInfo[BaseException], error: KmodHarnessError
) -> tuple[list[str], set[tuple[str, int]]]:
    """Return how the test itself ended, and the lines that tells; of how it met the same thing only where."""
    ended = cause.value
    told, lines = _at_lines(cause)
    if not isinstance(ended, KmodHarnessError):
        return ["", _ENDED, str(item.repr_failure(cause))], lines
    if told and not error.message.startswith(ended.message):
        told = ["", _ENDED, *told[2:], f"E   {type(ended).__name__}: {ended.message}"]
    return told, lines


def _at_lines(excinfo: pytest.ExceptionInfo[BaseException]) -> tuple[list[str], set[tuple[str, int]]]:
    """Return where the test and its fixtures were, under a heading, and which lines; [] for nowhere."""
    frames = excinfo.traceback.filter(lambda entry: is_users(entry.frame.raw))
    lines = {(str(entry.path), entry.lineno + 1) for entry in frames}
    if not frames:
        return [], lines
    own = pytest.ExceptionInfo.from_exception(excinfo.value)
    own.traceback = frames
    told = str(own.getrepr(style="short", chain=False)).splitlines()
    return ["", _AT, *(line for line in told if not line.startswith("E "))], lines
