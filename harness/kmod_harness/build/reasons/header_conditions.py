"""The options on which a line of a C header depends. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

_DIRECTIVE = re.compile(r"^\s*#\s*(ifdef|ifndef|if|elif|else|endif)\b(.*)$")
#: An option that has to be set; one behind ! must not be.
_POSITIVE = re.compile(
    r"(?<!!)(?<!! )(?:defined\s*\(?\s*|IS_(?:ENABLED|BUILTIN|MODULE|REACHABLE)\s*\(\s*)CONFIG_(\w+)"
)
_NAME = re.compile(r"\s*CONFIG_(\w+)")


def conditions(text: str) -> Iterator[tuple[str, tuple[tuple[str, ...], ...]]]:
    """Yields each line of a header with its conditions: options of which each group needs one to be set."""
    stack: list[tuple[str, ...]] = []
    for line in text.split("\n"):
        match = _DIRECTIVE.match(line)
        if match is None:
            yield line, tuple(group for group in stack if group)
        elif match[1] == "endif":
            del stack[-1:]
        elif match[1] in ("else", "elif"):
            del stack[-1:]
            stack.append(_options(match[1], match[2]))
        else:
            stack.append(_options(match[1], match[2]))


def _options(directive: str, condition: str) -> tuple[str, ...]:
    if directive == "ifdef":
        return tuple(_NAME.findall(condition))
    return tuple(_POSITIVE.findall(condition)) if directive in ("if", "elif") else ()


def needed_by_name(text: str, name: str) -> list[tuple[tuple[str, ...], ...]]:
    """Returns the conditions of each line of a header that declares or defines a name."""
    word = re.compile(rf"\b{re.escape(name)}\b\s*(?:[({{;=,:)\[]|$)|#\s*define\s+{re.escape(name)}\b")
    return [needed for line, needed in conditions(text) if word.search(line)]


def needed_by_member(text: str, structure: str, member: str) -> list[tuple[tuple[str, ...], ...]]:
    """Returns the conditions of a structure's member, for each definition of the structure with it."""
    begin = re.compile(rf"^\s*(?:struct|union)\s+{re.escape(structure)}\s*{{")
    word = re.compile(rf"\b{re.escape(member)}\b\s*(?:[;:\[,]|\))")
    found = []
    inside = False
    for line, needed in conditions(text):
        inside = inside or begin.match(line) is not None
        if inside and word.search(line):
            found.append(needed)
        if inside and line.startswith("}"):
            inside = False
    return found
