"""Prose, tables and errors in the 80 columns of a terminal; paths and commands to copy are not broken."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterator, Sequence

from kmod_harness.errors import KmodHarnessError
from kmod_harness.host.visible import visible

WIDTH = 80
#: A blank that no line ends at, while a text is wrapped.
_HARD_BLANK = "\0"
#: What is to be copied: between backticks, and from a command's first word to what can be none of it.
_COPIED = re.compile(
    r"`[^`]*`"
    r"|(?:^|(?<=: )|(?<=-> ))"
    r"(?:kmod-harness|make|apt-get install|pip install|git clone|python3?|pytest|gdb|ulimit|cd) "
    r"(?:\$\([^)]*\)|[^;,(])*",
    re.MULTILINE,
)
#: A line that stays whole: of the kernel log, or a compiler's, which editors read (FILE:LINE:COLUMN: ...).
_WHOLE = re.compile(r"\[ *\d+\.\d+\]|\S+:\d+:(?:\d+:)? ")


def wrapped(
    text: str,
    *,
    indent: str = "",
    further: str | None = None,
    width: int = WIDTH,
    breaks_commands: bool = False,
) -> list[str]:
    """Returns the lines of a text, each wrapped by itself.

    text: the text
    indent: start of each line
    further: start of each continued line, default `indent`
    width: characters of the longest line
    breaks_commands: whether a command may be broken, for a narrow column in which none has room
    """
    lines: list[str] = []
    if not breaks_commands:
        text = _COPIED.sub(lambda copied: copied[0].replace(" ", _HARD_BLANK), text)
    for line in text.splitlines() or [""]:
        parts = textwrap.wrap(
            line,
            width,
            initial_indent=indent,
            subsequent_indent=indent if further is None else further,
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
        )
        lines += [part.replace(_HARD_BLANK, " ").rstrip() for part in parts or [indent.rstrip()]]
    return lines


def error_lines(error: BaseException, *, begin: str = "", but: str = "") -> list[str]:
    """Returns the lines of an error: what happened, its evidence, what to do next.

    A line of the kernel log or of a compiler in the evidence stays whole.

    error: the error
    begin: words before the message
    but: a line that the reader has already seen; it is left out where the message starts with it
    """
    if not isinstance(error, KmodHarnessError):
        return wrapped(f"{begin}{type(error).__name__}: {error}", further="    ")
    first, _, rest = error.message.partition("\n")
    message = visible(rest if first == but else error.message)
    lines = wrapped(begin + message, further="    ") if message else []
    for line in visible(error.evidence.rstrip()).splitlines():
        lines += [f"  {line}"] if _WHOLE.match(line) else wrapped(line, indent="  ", further="      ")
    for index, line in enumerate(error.advice.splitlines()):
        # a second piece of advice may have its own arrow
        arrow = "" if line.startswith("-> ") else "-> " if index == 0 else "   "
        lines += wrapped(line, indent=arrow, further="   ")
    return lines


def table(rows: Sequence[Sequence[str]], numbers: Collection[int] = (), *, indent: str = "") -> Iterator[str]:
    """Yields the lines of a table; columns are as wide as needed, the last one is wrapped.

    `numbers` are the columns aligned to the right.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        *cells, last = (
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        before = indent + "".join(f"{cell}  " for cell in cells)
        yield from wrapped(last.rstrip(), indent=before, further=" " * len(before))


def plural(count: int, word: str) -> str:
    """Returns the count with its noun.

    >>> plural(1, "boot"), plural(2, "boot")
    ('1 boot', '2 boots')
    """
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def duration(seconds: float) -> str:
    """Returns a time with the precision that a person needs.

    >>> duration(0.0003), duration(0.021), duration(5.304), duration(71.6)
    ('under 1 ms', '21 ms', '5.3 s', '72 s')
    """
    if seconds < 0.001:
        return "under 1 ms"
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
