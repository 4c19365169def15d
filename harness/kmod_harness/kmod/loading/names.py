"""Names of modules as people type them: `-` for `_`, an alias for a module."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

#: Where an alias is no literal text any more.
_WILD = re.compile(r"[*?\[]")
#: A set of characters in an alias; within it a dash is a range (modprobe(8), `underscores` in libkmod).
_SET = re.compile(r"(\[[^\]]*\])")


@dataclass(frozen=True)
class Alias:
    """Another name of a module: `pattern` may hold `*`, `?` and sets, as `virtio:d00000002v*` does."""

    pattern: str
    module: str


def plain(name: str) -> str:
    """Returns a module's or parameter's name with `_` for `-`, which the kernel takes for the same."""
    return name.replace("-", "_")


def is_path(word: str) -> bool:
    """True for a word that means a file by its form: it has a slash, or ends as a .ko does."""
    return "/" in word or ".ko" in word


def modules_of_alias(word: str, aliases: Iterable[Alias]) -> tuple[str, ...]:
    """Returns the modules that have an alias which matches the word, sorted."""
    wanted = _plain_alias(word)
    return tuple(sorted({alias.module for alias in aliases if _matches(wanted, alias.pattern)}))


def nearest(word: str, names: Collection[str]) -> tuple[str, ...]:
    """Returns up to three names that the word may have been meant for, the likeliest first."""
    import difflib  # lazy

    wanted = plain(word)
    close = difflib.get_close_matches(wanted, names, n=3, cutoff=0.7)
    longer = sorted((name for name in names if len(wanted) > 2 and wanted in name), key=len)
    return tuple(dict.fromkeys([*close, *longer]))[:3]


def _matches(wanted: str, pattern: str) -> bool:
    # most of the thousands differ in their first letters, and each pattern takes a while to compile
    literal = plain(_WILD.split(pattern, maxsplit=1)[0])
    if len(literal) == len(pattern):
        return wanted == literal
    return wanted.startswith(literal) and fnmatchcase(wanted, _plain_alias(pattern))


def _plain_alias(text: str) -> str:
    return "".join(part if part.startswith("[") else plain(part) for part in _SET.split(text))
