"""A recorded kernel log with its reading on top: one file of cases/, a case.

    from: where the log was recorded, and by what it was provoked
    note: what else a reader should know; this line may be missing
    outcome: splat

    report: OOPS
    title: NULL pointer dereference in faulty_oops
    ...

    log:
    the log, byte for byte, to the end of the file

A log that may not lie here has the line `log: kernel-logs/NAME` on top, and nothing below the reading. A
file without a line `log:` is a log that has no reading yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.klog.frames import Frame
from kmod_harness.klog.outcome import outcome_of
from kmod_harness.klog.records import parse_console
from kmod_harness.klog.splats import Splat, find_splats
from needs.catalogue import RECORDED_LOGS
from unit.klog.recorded_logs import read_log

CASES = Path(__file__).parent / "cases"
_LOG = b"\nlog:\n"
#: Lines on top that a person writes: no reading gives them.
_BY_HAND = ("from", "note", "log")


@dataclass(frozen=True)
class Case:
    """A file of cases/.

    top: the lines that a person wrote.
    reading: the lines that `--update` writes.
    kept: the log's bytes, None where the log lies elsewhere.
    """

    path: Path
    top: tuple[str, ...]
    reading: str
    kept: bytes | None

    @property
    def origin(self) -> str:
        """Where the log was recorded, "" when no line says."""
        return self.by_hand("from")

    @property
    def elsewhere(self) -> Path | None:
        """The file of ../shared/data that holds the log, None when the case itself does."""
        name = self.by_hand("log")
        return RECORDED_LOGS.parent / name if name else None

    @property
    def log(self) -> bytes:
        """The log's bytes. Raises FileNotFoundError where it lies elsewhere, and nobody has put it there."""
        if self.elsewhere is None:
            return self.kept or b""
        return read_log(self.elsewhere)[1]

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds that the reading names."""
        lines = self.reading.splitlines()
        return frozenset(line.removeprefix("report: ") for line in lines if line.startswith("report: "))

    def by_hand(self, name: str) -> str:
        """The value of a line on top, "" without one."""
        return next((line.partition(": ")[2] for line in self.top if line.startswith(f"{name}: ")), "")


def read_case(path: Path) -> Case:
    """Return the case that a file holds. Raises OSError."""
    data = path.read_bytes()
    if not data.startswith(b"from: "):
        return Case(path, (), "", data)
    head, mark, log = data.partition(_LOG)
    lines = head.decode().splitlines()
    top = tuple(line for line in lines if line.partition(": ")[0] in _BY_HAND)
    reading = "\n".join(line for line in lines if line not in top)
    return Case(path, top, reading.strip("\n"), log if mark else None)


def write_case(case: Case, reading: str) -> None:
    """Write the case with this reading; its log stays as it is."""
    text = "".join(f"{line}\n" for line in (*(case.top or ("from: ",)), *reading.splitlines()))
    log = b"" if case.kept is None else _LOG + case.kept
    case.path.write_bytes(text.encode() + log)


def reading_of(log: bytes) -> str:
    """Return what the harness reads in a log: the outcome, then a paragraph for each report."""
    splats = find_splats(parse_console(log))
    return "\n\n".join((f"outcome: {outcome_of(splats).value}", *("\n".join(_lines(s)) for s in splats)))


def _lines(splat: Splat) -> Iterator[str]:
    yield f"report: {splat.kind.value}"
    yield f"title: {splat.title}"
    numbers = (("pid", splat.pid), ("cpu", splat.cpu))
    whose = (splat.task, *(f"{name} {number}" for name, number in numbers if number is not None))
    told = {
        "function": splat.function,
        "position": _place(splat.position) if splat.position else "",
        "task": _listed(whose),
        "modules": _listed(splat.modules),
        "linked": _listed(splat.linked_modules),
        "taint": splat.taint,
        "trace": _listed([("? " if frame.guess else "") + frame.function for frame in splat.frames]),
        "registers": str(len(splat.registers) or ""),
    }
    yield from (f"{name}: {value}" for name, value in told.items() if value)
    yield f"lines: {splat.first_line + 1} to {splat.last_line + 1}"


def _place(frame: Frame) -> str:
    offset = "" if frame.offset is None else f"+{frame.offset:#x}"
    return f"{frame.function}{offset}" + (f" [{frame.module}]" if frame.module else "")


def _listed(words: Sequence[str]) -> str:
    return ", ".join(word for word in words if word)
