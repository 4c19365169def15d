"""Kernel log records, from a serial console's bytes and from /dev/kmsg.

Nothing here raises on damaged input: a line that has no prefix is a record
with level and timestamp None. All work is linear in the number of bytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
#: A program wrote a line without its end on the same console: `login: [   59.806466] BUG: ...`
_PROMPT_CHARACTERS = 160
_BEHIND_A_PROMPT = re.compile(
    r".*?\[ {0,11}(?P<time>\d{1,11}\.\d{6})\](?:\[ {0,10}(?P<caller>[TC]\d{1,10})\])? ?"
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
    """

    level: int | None
    timestamp: float | None
    text: str
    raw: str
    caller: str = ""


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
        records = []
        for line in lines:
            records += [_record(piece) for piece in _pieces(line)]
        # A full piece is held back until a further byte comes: the line may end right here.
        whole = max(len(rest) - 1, 0) // MAX_LINE_BYTES * MAX_LINE_BYTES
        records += [_record(piece) for piece in _pieces(rest[:whole]) if whole]
        self._partial = bytearray(rest[whole:])
        return records

    def finish(self) -> list[KernelRecord]:
        """Return the last line, if it had no newline, as a record."""
        rest, self._partial = bytes(self._partial), bytearray()
        return [_record(rest)] if rest.strip(b"\r\0") else []


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
    return KernelRecord(int(match[1]) & 7, int(match[3]) / 1e6, text, raw, caller)


def _pieces(line: bytes) -> list[bytes]:
    """Return the line cut into pieces of MAX_LINE_BYTES; an empty line is one empty piece."""
    if len(line) <= MAX_LINE_BYTES:
        return [line]
    return [line[start : start + MAX_LINE_BYTES] for start in range(0, len(line), MAX_LINE_BYTES)]


def _record(line: bytes) -> KernelRecord:
    raw = line.rstrip(b"\r").decode("utf-8", "replace").replace("\0", "")
    match = _PREFIX.match(raw)
    if match is None or not (match["syslog"] or match["time"]):
        match = _BEHIND_A_PROMPT.match(raw[:_PROMPT_CHARACTERS])
    if match is None:
        return KernelRecord(None, None, raw, raw)
    return KernelRecord(
        level=int(level) & 7 if (level := match.groupdict().get("syslog")) else None,
        timestamp=float(match["time"]) if match["time"] else None,
        text=raw[match.end() :],
        raw=raw,
        caller=match["caller"] or "",
    )
