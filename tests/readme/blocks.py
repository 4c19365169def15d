"""What a page has of code: its blocks, and the commands in its text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: By its first word a line is one that a person types. `.` reads a file into the shell.
PROGRAMS = ("apt-get", "git", "kmod-harness", "make", "pip", "pytest", "python3")
_TYPED = re.compile(rf"(?:\.venv/bin/|harness/scripts/)?(?:{'|'.join(PROGRAMS)}|[\w-]+\.sh)(?= |$)")
_COMMENT = re.compile(r"(?:^|\s{2,})#\s.*$")
_SPAN = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_FILE = re.compile(r"(?:#|//) ((?:[\w-]+/)*(?:[\w-]+\.\w+|Makefile))")


@dataclass(frozen=True)
class Block:
    """line: of its first line, from 1. language: of a fenced block, "" for an indented one."""

    line: int
    language: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    @property
    def is_typed(self) -> bool:
        """True for commands, false for output, pictures and sources."""
        return not self.language and is_command(self.lines[0])

    @property
    def commands(self) -> tuple[str, ...]:
        """What a person types, a line each, without comments."""
        if not self.is_typed:
            return ()
        return tuple(_COMMENT.sub("", line) for line in self.lines if _COMMENT.sub("", line))

    @property
    def file(self) -> str:
        """The file that a source's first line names, "" for a fragment."""
        named = _FILE.fullmatch(self.lines[0])
        return named[1] if named else ""


def is_command(text: str) -> bool:
    """True for a line that begins with a program of ours or one of PROGRAMS."""
    return _TYPED.match(text) is not None


def blocks(page: str) -> tuple[Block, ...]:
    """Returns the code blocks in order: fenced ones, and runs of lines indented by four."""
    return tuple(_blocks(page.splitlines()))


def inline_commands(page: str) -> tuple[str, ...]:
    """Returns the commands that stand in the text between backticks, each once, in order."""
    spans = (" ".join(span.split()) for _, span in _SPAN.findall(prose(page)))
    return tuple(dict.fromkeys(span for span in spans if is_command(span)))


def options(page: str) -> tuple[str, ...]:
    """Returns every long option that the text or a typed command names, each once."""
    typed = "\n".join(block.text for block in blocks(page) if block.is_typed)
    spans = "\n".join(span for _, span in _SPAN.findall(prose(page)))
    found = re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", f"{typed}\n{spans}")
    return tuple(dict.fromkeys(found))


def prose(page: str) -> str:
    """Returns the text without its code blocks, line for line."""
    lines = page.splitlines()
    for block in blocks(page):
        first = block.line - 1 - bool(block.language)
        last = block.line - 1 + len(block.lines) + bool(block.language)
        lines[first:last] = [""] * (last - first)
    return "\n".join(lines)


def _blocks(lines: Sequence[str]) -> Iterator[Block]:
    at = 0
    while at < len(lines):
        if lines[at].startswith("```"):
            end = next(number for number in range(at + 1, len(lines)) if lines[number].startswith("```"))
            yield Block(at + 2, lines[at][3:].strip() or "text", tuple(lines[at + 1 : end]))
            at = end + 1
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()):
            end = _end_of_indented(lines, at)
            yield Block(at + 1, "", tuple(line[4:] for line in lines[at:end]))
            at = end
        else:
            at += 1


def _end_of_indented(lines: Sequence[str], start: int) -> int:
    """Blank lines between indented ones belong to the block (CommonMark 0.31, 4.4)."""
    end = start
    for number in range(start, len(lines)):
        if lines[number].startswith("    "):
            end = number + 1
        elif lines[number].strip():
            break
    return end
