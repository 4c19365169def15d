"""The modules that a Makefile or Kbuild names, read as text: nothing of it is run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

#: Assigned to a variable, in one of make's ways; a list of kbuild's may have a function in its name.
_ASSIGNMENT = re.compile(r"(?:(?:export|override)\s+)*(obj-.*?|\S+?)\s*(:::?=|[:?+!]?=)\s*(.*)")
_VARIABLE = re.compile(r"\$\(([^()$\s:]+)\)|\$\{([^{}$\s:]+)\}")
_INCLUDE = re.compile(r"-?s?include\s")
_CONFIG = re.compile(r"\$[({](CONFIG_\w+)[)}]")
#: An object of this directory or one below it.
_OBJECT = re.compile(r"(?:[\w+,-][\w+,.-]*/)*[\w+,-][\w+,.-]*\.o")
#: The parts of a module NAME.
_PARTS = re.compile(r"(.+)-(?:objs|y|m)")


@dataclass(frozen=True)
class Entry:
    """A module or a directory that a Makefile names.

    name: of the .ko without its suffix, or of the directory; it may have a directory before it.
    config: the CONFIG_ symbol that has to be `m` for it, "" for none.
    """

    name: str
    config: str = ""


@dataclass(frozen=True)
class Makefile:
    """The content of one Makefile or Kbuild.

    directories: that kbuild goes into. parts: module -> its object files.
    unclear: lines whose modules cannot be known without running make.
    """

    modules: tuple[Entry, ...]
    directories: tuple[Entry, ...]
    parts: Mapping[str, tuple[str, ...]]
    unclear: tuple[str, ...]


def read_makefile(text: str) -> Makefile:
    """Return the content of a Makefile's text; of if and else both, since only make knows which one counts.

    >>> read_makefile("obj-m := hello.o\\n").modules
    (Entry(name='hello', config=''),)
    """
    variables: dict[str, str] = {}
    lists: list[tuple[str, str, str]] = []
    unclear: list[str] = []
    for line in _lines(text):
        match = _ASSIGNMENT.fullmatch(line)
        if match is None:
            unclear += [line] if _INCLUDE.match(line) else []
            continue
        name, operator, value = match.groups()
        if name.startswith("obj-"):
            lists.append((name.removeprefix("obj-"), value, line))
        elif operator == "+=":
            variables[name] = f"{variables.get(name, '')} {value}".strip()
        elif operator != "?=" or name not in variables:
            variables[name] = value
    modules: dict[str, Entry] = {}
    directories: dict[str, Entry] = {}
    for suffix, value, line in lists:
        kind, config = _kind(suffix, variables)
        words = _expanded(value, variables).split()
        if kind in ("n", ""):
            continue
        is_clear = kind in ("m", "y")
        for word in words if is_clear else ():
            name = word.removesuffix(".o").rstrip("/")
            if word.endswith("/") and "$" not in word:
                directories.setdefault(name, Entry(name, config))
            elif not _OBJECT.fullmatch(word):
                is_clear = False
            elif kind == "m":
                modules.setdefault(name, Entry(name, config))
        unclear += [] if is_clear else [line]
    return Makefile(
        tuple(modules.values()),
        tuple(directories.values()),
        _parts(modules, variables),
        tuple(dict.fromkeys(unclear)),
    )


def _lines(text: str) -> Iterator[str]:
    """Yields lines joined and without comments; those of recipes, which begin with a tab, are left out."""
    joined = re.sub(r"\\\n[ \t]*", " ", text.replace("\r\n", "\n"))
    for line in joined.split("\n"):
        plain = re.sub(r"(?<!\\)#.*", "", line).strip()
        if plain and not line.startswith("\t"):
            yield plain


def _kind(suffix: str, variables: Mapping[str, str]) -> tuple[str, str]:
    """Returns `m` or `y` for a list obj-SUFFIX, and the CONFIG_ symbol that decides, "" for none."""
    config = _CONFIG.fullmatch(suffix)
    if config and config[1] not in variables:
        return "m", config[1]
    return _expanded(suffix, variables).strip(), ""


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """Returns the text with the file's own variables in their places; others, and functions, stay."""
    # one that names itself has no end
    for _ in range(10):
        new = _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], match[0]), text)
        if new == text:
            return new
        text = new
    return text


def _parts(modules: Mapping[str, Entry], variables: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    parts: dict[str, tuple[str, ...]] = {}
    for name, value in variables.items():
        match = _PARTS.fullmatch(_expanded(name, variables))
        if match and match[1] in modules:
            objects = (word for word in _expanded(value, variables).split() if word.endswith(".o"))
            parts[match[1]] = (*parts.get(match[1], ()), *objects)
    return parts
