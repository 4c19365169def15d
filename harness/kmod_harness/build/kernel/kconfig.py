"""Kconfig's result checked like a contract: the requests of fragments and the symbols that came out. Pure.

The kernel writes its symbols with `CONFIG_` in front, Buildroot with `BR2_`: this is `prefix`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from functools import cache

#: The value of an absent symbol, of `CONFIG_X=n` and of `# CONFIG_X is not set`.
NOT_SET = "n"

KERNEL = "CONFIG_"
BUILDROOT = "BR2_"

_ASSIGNMENT = r"{}([A-Za-z0-9_]+)=(.+)"
_UNSET = r"# {}([A-Za-z0-9_]+) is not set"
_DEFINITION = re.compile(r"^\s*(?:menu)?config\s+([A-Za-z0-9_]+)\s*$", re.MULTILINE)


class KconfigError(ValueError):
    """A line of a fragment that is neither a comment nor a setting."""


@dataclass(frozen=True)
class Request:
    """A value that a fragment requests for a symbol.

    symbol: name without prefix
    value: `y`, `m`, `n`, `8`, `"text"`
    fragment: name of the fragment
    line: number of the line
    prefix: prefix of the symbol
    """

    symbol: str
    value: str
    fragment: str
    line: int
    prefix: str = KERNEL

    def __str__(self) -> str:
        return setting(self.symbol, self.value, self.prefix)


@dataclass(frozen=True)
class DroppedRequest:
    """A request that Kconfig did not honour, and the value that it chose."""

    request: Request
    resolved: str

    def __str__(self) -> str:
        outcome = "it is not set" if self.resolved == NOT_SET else f"it came out as {self.resolved}"
        return f"{self.request.fragment}:{self.request.line}: asked for {self.request}, but {outcome}"


@dataclass(frozen=True)
class SymbolRenaming:
    """The names of a symbol in older and in newer kernels; `newer` is "" where it was removed."""

    older: str
    newer: str


@dataclass(frozen=True)
class Substitution:
    """What a kernel is asked for in place of a symbol, if it defines `where` (or lacks it: `!NAME`)."""

    symbol: str
    where: str
    instead: tuple[str, ...]

    def holds(self, defined: Set[str]) -> bool:
        """Whether a kernel that defines these symbols is such a one."""
        name = self.where.removeprefix("!")
        return (name in defined) != (name != self.where)


def setting(symbol: str, value: str, prefix: str = KERNEL) -> str:
    """Returns the line of a .config with this value of a symbol."""
    return f"# {prefix}{symbol} is not set" if value == NOT_SET else f"{prefix}{symbol}={value}"


def parse_fragment(text: str, fragment: str, prefix: str = KERNEL) -> tuple[Request, ...]:
    """Returns the requests of a fragment; `fragment` is its name for messages.

    Raises KconfigError for a line that Kconfig would silently ignore.
    """
    requests = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        found = _setting_of(line, prefix)
        if found is not None:
            requests.append(Request(*found, fragment, number, prefix))
        elif line and not line.startswith("#"):
            raise KconfigError(
                f"{fragment}:{number}: expected {prefix}NAME=value, a comment, "
                f"or `# {prefix}NAME is not set`: {line!r}"
            )
    return tuple(requests)


def parse_config(text: str, prefix: str = KERNEL) -> dict[str, str]:
    """Returns symbol -> value of a .config."""
    lines = (_setting_of(line.strip(), prefix) for line in text.splitlines())
    return dict(found for found in lines if found is not None)


def parse_renamings(text: str) -> tuple[SymbolRenaming, ...]:
    """Returns the renamings in a table of `OLDER NEWER`, or `OLDER -` for a symbol that was removed."""
    lines = (line.partition("#")[0].split() for line in text.splitlines())
    return tuple(SymbolRenaming(words[0], words[1].removeprefix("-")) for words in lines if words)


def renamings_of(
    renamings: Iterable[SymbolRenaming], requests: Iterable[Request]
) -> tuple[SymbolRenaming, ...]:
    """Returns the renamings of requested symbols, by either name."""
    asked = {request.symbol for request in requests}
    return tuple(item for item in renamings if item.older in asked or item.newer in asked)


def with_current_names(
    defined: Set[str], requests: Iterable[Request], renamings: Iterable[SymbolRenaming]
) -> tuple[Request, ...]:
    """Returns the requests with the names of a kernel that defines these symbols.

    The newer name wins in a release that defines both. Requests for symbols that a renaming declares
    removed are left out; those without a renaming are unchanged.
    """
    names = {name: item for item in renamings for name in (item.older, item.newer) if name}
    called = []
    for request in requests:
        item = names.get(request.symbol)
        if item is None:
            called.append(request)
        elif item.newer in defined:
            called.append(replace(request, symbol=item.newer))
        elif item.older in defined:
            called.append(replace(request, symbol=item.older))
        elif item.newer:
            called.append(request)
    return tuple(called)


def parse_substitutions(text: str) -> tuple[Substitution, ...]:
    """Returns the rows of a table of `SYMBOL WHERE SYMBOLS...`; `-` stands for no symbol."""
    rows = (line.partition("#")[0].split() for line in text.splitlines())
    return tuple(Substitution(row[0], row[1], tuple(row[2:]) if row[2] != "-" else ()) for row in rows if row)


def substituted(
    defined: Set[str], requests: Iterable[Request], substitutions: Iterable[Substitution]
) -> tuple[Request, ...]:
    """Returns the requests with what a kernel is asked for in place of some; `defined`: its symbols."""
    places = {item.symbol: item for item in substitutions if item.holds(defined)}
    asked: list[Request] = []
    for request in requests:
        item = places.get(request.symbol)
        names = (request.symbol,) if item is None else (name for name in item.instead if name in defined)
        asked += (replace(request, symbol=name) for name in names)
    return tuple(asked)


def merge(base: str, requests: Iterable[Request], prefix: str = KERNEL) -> str:
    """Returns the text of a .config: `base` with the requests; the last request of a symbol wins."""
    settings = parse_config(base, prefix)
    for request in requests:
        # Removed first, so that it moves to the end: Kconfig takes the last line of a choice.
        settings.pop(request.symbol, None)
        settings[request.symbol] = request.value
    return "".join(setting(symbol, value, prefix) + "\n" for symbol, value in settings.items())


def dropped_requests(requests: Iterable[Request], resolved: Mapping[str, str]) -> tuple[DroppedRequest, ...]:
    """Returns the requests that were dropped, in order; an overridden request does not count."""
    final = {request.symbol: request for request in requests}
    return tuple(
        DroppedRequest(request, resolved.get(request.symbol, NOT_SET))
        for request in final.values()
        if resolved.get(request.symbol, NOT_SET) != request.value
    )


def defined_symbols(kconfig_text: str) -> set[str]:
    """Returns the symbols defined in the text of a Kconfig file."""
    return set(_DEFINITION.findall(kconfig_text))


def _setting_of(line: str, prefix: str) -> tuple[str, str] | None:
    assignment, unset = _patterns(prefix)
    if match := assignment.fullmatch(line):
        return match[1], match[2]
    if match := unset.fullmatch(line):
        return match[1], NOT_SET
    return None


@cache
def _patterns(prefix: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(_ASSIGNMENT.format(prefix)), re.compile(_UNSET.format(prefix))
