"""The sections of a failed test's guests, beside the failure itself: the kernel log, the shell, QEMU."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

#: Lines of the kernel log that are shown.
_MOST_LINES = 60
#: A prompt, or a status behind it (guest/shell.py).
_MARKER = re.compile(r"kmod[0-9a-f]{16}(?::\d*:)?")
_NOTHING = "(the kernel said nothing during this test)"


@dataclass(frozen=True)
class Evidence:
    """One guest.

    log: what its kernel said since the test began, as a person reads it. interrogation: what it said when it
    was asked why it hangs. transcript: what its shell sent. command_line: QEMU's.
    """

    log: Sequence[str]
    interrogation: str
    transcript: str
    command_line: str

    def sections(self, number: str, shown: Collection[str], *, is_verbose: bool) -> list[tuple[str, str]]:
        """Return (title, text) pairs for a report; nothing for what is empty.

        shown: lines of the log that the reader has seen. is_verbose: QEMU's command line too, a thousand
        characters, which a bundle has as well.
        """
        log = list(_unseen(self.log, {*shown, *self.interrogation.splitlines()}))
        named = (
            (f"asked why it hangs, the guest says{number}", self.interrogation),
            (f"kernel log{number}", "\n".join(log[-_MOST_LINES:]) or _NOTHING),
            (f"transcript of the shell{number}", _without_markers(self.transcript)),
            (f"QEMU command line{number}", self.command_line if is_verbose else ""),
        )
        return [(title, text) for title, text in named if text]


def _unseen(log: Sequence[str], shown: Collection[str]) -> Iterator[str]:
    """Yield the lines, with a count in place of those that stand above already."""
    count = 0
    for line in log:
        if line in shown:
            count += 1
            continue
        if count:
            yield _counted(count)
        count = 0
        yield line
    if count:
        yield _counted(count)


def _without_markers(transcript: str) -> str:
    """Return the shell's output without the words by which the harness knows an output's end."""
    lines = (_MARKER.sub("", line).rstrip("\r") for line in transcript.splitlines())
    return "\n".join(line for line in lines if line)


def _counted(count: int) -> str:
    return f"... {'one line that is' if count == 1 else f'{count} lines that are'} shown above ..."
