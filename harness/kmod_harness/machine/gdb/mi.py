"""The part of gdb's machine interface that is used: a command out, its records in (gdb manual, "GDB/MI")."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Result `12^done`, exec `*stopped,reason="..."`, streams `~"..."` of the console and `&"..."` of its log.
_RECORD = re.compile(r"^(\d*)([\^*+=])([a-z-]+)(.*)$", re.DOTALL)
_STREAM = re.compile(r'^[~@&]"(.*)"$', re.DOTALL)
_ESCAPE = re.compile(r"\\([0-7]{1,3}|.)", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "e": "\x1b", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


@dataclass(frozen=True)
class Record:
    """One line of gdb's output.

    kind: `~`, `@` or `&` for the text of a stream, otherwise the mark of a record
    text: text of a stream
    number: number of the command that it answers, 0 for none
    record_class: such as `done` and `stopped`
    detail: the rest, as gdb writes it
    """

    kind: str
    text: str = ""
    number: int = 0
    record_class: str = ""
    detail: str = ""

    def field(self, name: str) -> str:
        """Returns a string field of the record, "" without one."""
        found = re.search(rf'(?:^|[,{{]){re.escape(name)}="((?:[^"\\]|\\.)*)"', self.detail)
        return unescape(found[1]) if found else ""


def parse_record(line: str) -> Record | None:
    """Returns the record of a line; None for the prompt `(gdb)` and for other lines.

    >>> parse_record('7^error,msg="No symbol \\\\"x\\\\" in current context."').field("msg")
    'No symbol "x" in current context.'
    """
    stream = _STREAM.match(line)
    if stream:
        return Record(line[0], unescape(stream[1]))
    record = _RECORD.match(line)
    if record is None:
        return None
    number, kind, record_class, detail = record.groups()
    return Record(kind, number=int(number or 0), record_class=record_class, detail=detail)


def console_command(number: int, command: str) -> str:
    """Returns the line by which gdb runs a command as if it was typed. Raises ValueError for two lines."""
    if "\n" in command or "\r" in command:
        raise ValueError(f"gdb takes one line a command: {command!r}")
    return f"{number}-interpreter-exec console {quote(command)}\n"


def quote(text: str) -> str:
    """Returns the text as a C string, which both MI and gdb's arguments of files accept."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unescape(text: str) -> str:
    """Returns the text of a C string as gdb writes it, with letters and octal bytes of UTF-8.

    >>> unescape(r"a\\tb\\303\\244\\n")
    'a\\tb\\xe4\\n'
    """
    data = bytearray()
    at = 0
    for match in _ESCAPE.finditer(text):
        data += text[at : match.start()].encode("utf-8", "surrogateescape")
        code = match[1]
        if code[0] in "01234567":
            data.append(int(code, 8) & 0xFF)
        else:
            data += _LETTERS.get(code, code).encode("utf-8", "surrogateescape")
        at = match.end()
    data += text[at:].encode("utf-8", "surrogateescape")
    return data.decode(errors="replace")
