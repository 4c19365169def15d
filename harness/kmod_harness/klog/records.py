"""Kernel log records, from a serial console's bytes and from /dev/kmsg.

Nothing here raises on damaged input: a line that has no prefix is a record
with level and timestamp None. All work is linear in the number of bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

#: A longer line is cut into pieces: bounds memory where a guest never writes a newline. In bytes.
MAX_LINE_BYTES = 1 << 16

#: Level prefix (console_msg_format=syslog), timestamp (printk.time), caller (PRINTK_CALLER), then one
#: space: `info_print_prefix`, kernel/printk/printk.c, 6.1. The quantifiers are bounded: linear.
_PREFIX = re.compile(
    r"(?:<(?P<syslog>\d{1,4})>)?"
    r"(?:\[ {0,11}(?P<time>\d{1,11}\.\d{1,9})\])?"
    r"(?:\[ {0,10}(?P<caller>[TC]\d{1,10})\])?"
    r" ?"
)
#: Where a record begins behind what a program wrote on the same console without a newline: a progress bar, a
#: prompt (`login: [   59.806466] BUG: ...`). One blank ends the prefix, or the line does.
_BEGINS = re.compile(
    r"(?P<syslog><\d{1,4}>)?\[ {0,11}(?P<time>\d{1,11}\.\d{6})\](?:\[ {0,10}[TC]\d{1,10}\])?(?: |$)"
)
_KMSG = re.compile(r"(\d{1,10}),(\d{1,20}),(\d{1,20}),([^;]*);(.*)", re.DOTALL)
_KMSG_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


@dataclass(frozen=True)
class KernelRecord:
    """One line of the kernel log.

    level: 0 (emergency) to 7 (debug), None where the console does not tell.
    timestamp: seconds since boot, None without one.
    text: the line without its prefix.
    raw: the line as it came, without its line end.
    caller: `T123` (task) or `C0` (CPU) where PRINTK_CALLER is set, else "".
    facility: 0 for the kernel's own, others for what a program wrote to /dev/kmsg, None where nothing tells.
    """

    level: int | None
    timestamp: float | None
    text: str
    raw: str
    caller: str = ""
    facility: int | None = None

    @property
    def has_prefix(self) -> bool:
        """Whether the kernel's prefix stands before it: nothing else on the console has one."""
        return self.timestamp is not None or self.level is not None

    @property
    def is_a_programs(self) -> bool:
        """Whether a program wrote it to /dev/kmsg: the kernel gives it a facility other than its own."""
        return bool(self.facility)


class ConsoleParser:
    """Turns a console's bytes into records, in whatever pieces they arrive.

    The records do not depend on how the bytes are cut: everything at once, or byte by byte, gives the same
    records, with `finish` at the end.
    """

    def __init__(self) -> None:
        self._partial = bytearray()

    def feed(self, data: bytes) -> list[KernelRecord]:
        """Return the records that these bytes complete."""
        if b"\n" not in data and len(self._partial) + len(data) <= MAX_LINE_BYTES:
            self._partial += data
            return []
        *lines, rest = (bytes(self._partial) + data).split(b"\n")
        records: list[KernelRecord] = []
        for line in lines:
            records += _records(line)
        # A full piece is held back until a further byte comes: the line may end right here.
        whole = max(len(rest) - 1, 0) // MAX_LINE_BYTES * MAX_LINE_BYTES
        records += _records(rest[:whole]) if whole else []
        self._partial = bytearray(rest[whole:])
        return records

    def finish(self) -> list[KernelRecord]:
        """Return the last line, if it had no newline, as a record."""
        rest, self._partial = bytes(self._partial), bytearray()
        return _records(rest) if rest.strip(b"\r\0") else []


def parse_console(log: str | bytes) -> tuple[KernelRecord, ...]:
    """Return the records of a whole console log, a last line without a newline included."""
    data = log.encode("utf-8", "replace") if isinstance(log, str) else log
    parser = ConsoleParser()
    return (*parser.feed(data), *parser.finish())


def parse_kmsg(line: str | bytes) -> KernelRecord:
    """Return a record as /dev/kmsg has it: `6,339,5140900,-;text` (Documentation/ABI/testing/dev-kmsg).

    The lines of the dictionary that may follow, each of which begins with a space, are left out. A line of
    another form becomes a record without level and timestamp.
    """
    data = line.encode("utf-8", "replace") if isinstance(line, str) else line
    raw = data.decode("utf-8", "replace").rstrip("\n")
    match = _KMSG.match(raw)
    if match is None:
        return KernelRecord(None, None, raw, raw)
    escaped = match[5].split("\n", 1)[0].encode("utf-8", "replace")
    text = _KMSG_ESCAPE.sub(lambda code: bytes((int(code[1], 16),)), escaped).decode("utf-8", "replace")
    caller = next((f[7:] for f in match[4].split(",") if f.startswith("caller=")), "")
    return KernelRecord(int(match[1]) & 7, int(match[3]) / 1e6, text, raw, caller, int(match[1]) >> 3)


def _records(line: bytes) -> list[KernelRecord]:
    """Return the records of a line, cut into pieces of MAX_LINE_BYTES; an empty line is an empty record."""
    starts = range(0, len(line), MAX_LINE_BYTES) if line else (0,)
    return [record for start in starts for record in _records_of_piece(line[start : start + MAX_LINE_BYTES])]


def _records_of_piece(piece: bytes) -> list[KernelRecord]:
    """Return the records between the carriage returns, and wherever a prefix begins behind other text."""
    text = piece.decode("utf-8", "replace").replace("\0", "")
    parts = [part for part in text.split("\r") if part] or [""]
    return [_record(raw) for part in parts for raw in _cut(part)]


def _cut(raw: str) -> list[str]:
    """Return the text cut where a record begins.

    A record of the kernel's ends with its line, so that a prefix within one is text that it quotes; that is
    of an earlier time, and one of a later time was written over it.
    """
    own = _PREFIX.match(raw)
    assert own is not None
    time = float(own["time"]) if own["time"] else None
    is_prefixed = bool(own["syslog"] or own["time"])
    cuts = [0]
    for match in _BEGINS.finditer(raw, own.end() if is_prefixed else 0):
        as_own = not is_prefixed or bool(match["syslog"]) == bool(own["syslog"])
        if as_own and (time is None or float(match["time"]) >= time):
            cuts.append(match.start())
    return [raw[start:end] for start, end in pairwise((*dict.fromkeys(cuts), len(raw)))]


def _record(raw: str) -> KernelRecord:
    match = _PREFIX.match(raw)
    assert match is not None
    if not (match["syslog"] or match["time"]):
        return KernelRecord(None, None, raw, raw)
    number = int(match["syslog"]) if match["syslog"] else None
    return KernelRecord(
        level=None if number is None else number & 7,
        timestamp=float(match["time"]) if match["time"] else None,
        text=raw[match.end() :],
        raw=raw,
        caller=match["caller"] or "",
        facility=None if number is None else number >> 3,
    )
