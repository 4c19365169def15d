"""Kconfig's expressions: `A && (B || !C) && D=y`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"\s*(\|\||&&|!=|<=|>=|=|<|>|!|\(|\)|\$\((?:[^()]|\([^()]*\))*\)|\"[^\"]*\"|'[^']*'|[\w.-]+)"
)


@dataclass(frozen=True)
class Option:
    """A symbol, or a constant: y, m, n, a number, a text."""

    name: str


@dataclass(frozen=True)
class Not:
    """True where its part is not."""

    part: Expression


@dataclass(frozen=True)
class All:
    """True where each part is."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Any:
    """True where one part is."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Compared:
    """Two values compared by = != < > <= >=."""

    left: str
    operator: str
    right: str


Expression = Option | Not | All | Any | Compared

#: Of an empty condition.
TRUE = Option("y")


def parse_expression(text: str) -> Expression:
    """Returns the expression of a text; what cannot be parsed is taken for true, as a macro is."""
    words = _TOKEN.findall(text)
    try:
        expression, rest = _any(words)
    except IndexError:
        return TRUE
    return expression if not rest else TRUE


def all_of(parts: list[Expression]) -> Expression:
    """Returns the expression that is true where all parts are."""
    real = tuple(dict.fromkeys(part for part in parts if part != TRUE))
    return real[0] if len(real) == 1 else All(real) if real else TRUE


def _any(words: list[str]) -> tuple[Expression, list[str]]:
    first, words = _all(words)
    parts = [first]
    while words and words[0] == "||":
        part, words = _all(words[1:])
        parts.append(part)
    return (first if len(parts) == 1 else Any(tuple(parts))), words


def _all(words: list[str]) -> tuple[Expression, list[str]]:
    first, words = _one(words)
    parts = [first]
    while words and words[0] == "&&":
        part, words = _one(words[1:])
        parts.append(part)
    return (first if len(parts) == 1 else All(tuple(parts))), words


def _one(words: list[str]) -> tuple[Expression, list[str]]:
    word, rest = words[0], words[1:]
    if word == "!":
        part, rest = _one(rest)
        return Not(part), rest
    if word == "(":
        part, rest = _any(rest)
        return part, rest[1:]
    if rest and rest[0] in ("=", "!=", "<", ">", "<=", ">="):
        return Compared(word.strip("\"'"), rest[0], rest[1].strip("\"'")), rest[2:]
    return (TRUE if word.startswith("$") else Option(word.strip("\"'"))), rest
