"""What dmesg, journalctl, syslog and CI systems write before each line of a kernel log."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kmod_harness.klog.records import KernelRecord, parse_console

_CLOCK = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d{1,9})?)?"
_ZONE = r"(?: ?(?:Z|UTC|GMT|CES?T|[+-]\d\d:?\d\d))?"
#: Day and month in any language: `Mar  5`, `5. März`, `Tue Mar 5`, `mars 05`.
_WORD = r"[^\W\d_]{1,10}\.?"
_ISO = rf"(?:{_WORD} )?\d{{4}}[-/.]\d\d[-/.]\d\d[T ]{_CLOCK}{_ZONE}"
_DATE = rf"(?:{_WORD},? )?(?:{_WORD} {{1,2}}\d{{1,2}}\.?|\d{{1,2}}\.? {_WORD}),?"
_STAMP = (
    rf"(?:{_ISO}|{_DATE}(?: \d{{4}})? {_CLOCK}{_ZONE}(?: \d{{4}})?|{_CLOCK}{_ZONE}|\d{{9,10}}\.\d{{1,9}})"
)
_HOST = r"[A-Za-z0-9][\w.:-]{0,63}"
_FACILITY = r"(?:kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|local\d)"
_LEVEL = r"(?:emerg|alert|crit|err|error|warn|warning|notice|info|debug)"

#: One piece of a prefix each, in whatever order they come; every quantifier is bounded.
_PIECES = re.compile(
    "|".join(
        (
            # the kernel's own: level, seconds since boot, caller; dmesg -d and -H add the difference
            r"<\d{1,4}>(?:1 (?=\d{4}-))?",
            r"\[ {0,11}\+?\d{1,11}\.\d{1,9}(?: < {0,12}\+?\d{1,11}\.\d{1,9} {0,2}>)?\] ?",
            r"\[ {0,10}[TC]\d{1,10}\] ?",
            # dmesg -T, -H and --time-format, kunit.py
            rf"\[ {{0,2}}{_STAMP}(?: < {{0,12}}\+?\d{{1,11}}\.\d{{1,9}} {{0,2}}>)?\] ?",
            # dmesg -x
            rf"{_FACILITY} {{0,6}}:{_LEVEL} {{0,7}}: ",
            # journalctl and syslog (RFC 3164, 5424), with and without a host and a stamp
            rf"{_STAMP} ?(?:{_HOST} )?kernel(?:\[\d{{1,8}}\])?: ?",
            rf"{_STAMP} {_HOST} kernel - - (?:-|\[[^\]]{{0,200}}\]) ",
            rf"(?:{_HOST} )?kernel(?:\[\d{{1,8}}\])?: ?",
            # a container's, a CI system's or a script's: `web-1  | `, a stamp alone
            rf"{_HOST} {{1,20}}\| ",
            rf"{_STAMP}:? ",
        )
    )
)
#: So many pieces a line may have: a CI system's stamp, journald's, the kernel's.
_MOST_PIECES = 6
#: Characters in which it lies, so that a line without end costs no more than another.
_MOST_PREFIX = 512
_SYSLOG = re.compile(r"<(\d{1,4})>")
_TIME = re.compile(r"\[ {0,11}(\d{1,11}\.\d{1,9})\]")
_CALLER = re.compile(r"\[ {0,10}([TC]\d{1,10})\]")


def parse_copied_log(log: str | bytes) -> tuple[KernelRecord, ...]:
    """Return the records of a log that other programs may have put prefixes of their own into.

    A record's `raw` is the line as it stands in the log, its `text` the kernel's message. Level and time are
    given as far as the kernel's own prefix tells them.
    """
    return tuple(_records(log))


def _records(log: str | bytes) -> Iterator[KernelRecord]:
    text = log.decode("utf-8", "replace") if isinstance(log, bytes) else log
    for line in text.removesuffix("\n").split("\n"):
        raw = line.removesuffix("\r")
        start = _message_start(raw[:_MOST_PREFIX])
        own = parse_console(raw) or (KernelRecord(None, None, raw, raw),)
        if start <= len(own[0].raw) - len(own[0].text):
            yield from own
        else:
            yield _of_prefix(raw, start)


def _of_prefix(raw: str, start: int) -> KernelRecord:
    """Return the record of a line whose message begins at `start`."""
    level = _SYSLOG.search(raw, 0, start)
    time = _TIME.search(raw, 0, start)
    caller = _CALLER.search(raw, 0, start)
    number = int(level[1]) if level else None
    return KernelRecord(
        level=None if number is None else number & 7,
        timestamp=float(time[1]) if time else None,
        text=raw[start:],
        raw=raw,
        caller=caller[1] if caller else "",
        facility=None if number is None else number >> 3,
    )


def _message_start(line: str) -> int:
    """Return where the message begins in the line."""
    at = 0
    for _ in range(_MOST_PIECES):
        piece = _PIECES.match(line, at)
        if piece is None:
            break
        at = piece.end()
    return at
