"""Kernel configuration as a contract: what fragments ask for, against what Kconfig made of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: How an absent symbol, `CONFIG_X=n` and `# CONFIG_X is not set` are all written here.
NOT_SET = "n"

_ASSIGNMENT = re.compile(r"CONFIG_([A-Za-z0-9_]+)=(.+)")
_UNSET = re.compile(r"# CONFIG_([A-Za-z0-9_]+) is not set")
_DEFINITION = re.compile(r"^\s*(?:menu)?config\s+([A-Za-z0-9_]+)\s*$", re.MULTILINE)


class KconfigError(ValueError):
    """A line of a fragment is neither a comment nor a setting."""


@dataclass(frozen=True)
class Request:
    """A symbol (without `CONFIG_`) that a fragment wants to have a value: `y`, `m`, `n`, `8`, `"text"`."""

    symbol: str
    value: str
    fragment: str
    line: int

    def __str__(self) -> str:
        return setting(self.symbol, self.value)


@dataclass(frozen=True)
class Dropped:
    """A request that Kconfig did not honour, and the value that came out instead."""

    request: Request
    resolved: str

    def __str__(self) -> str:
        outcome = "it is not set" if self.resolved == NOT_SET else f"it came out as {self.resolved}"
        return f"{self.request.fragment}:{self.request.line}: asked for {self.request}, but {outcome}"


def setting(symbol: str, value: str) -> str:
    """Returns the line of a .config that gives a symbol this value."""
    return f"# CONFIG_{symbol} is not set" if value == NOT_SET else f"CONFIG_{symbol}={value}"


def parse_fragment(text: str, fragment: str) -> tuple[Request, ...]:
    """Returns the requests of a fragment; `fragment` is its name for messages.

    Raises KconfigError for a line that Kconfig would silently ignore.
    """
    requests = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        found = _setting_of(line)
        if found is not None:
            requests.append(Request(*found, fragment, number))
        elif line and not line.startswith("#"):
            raise KconfigError(
                f"{fragment}:{number}: expected CONFIG_NAME=value, a comment, "
                f"or `# CONFIG_NAME is not set`: {line!r}"
            )
    return tuple(requests)


def parse_config(text: str) -> dict[str, str]:
    """Returns the symbols of a .config and their values."""
    return dict(found for line in text.splitlines() if (found := _setting_of(line.strip())) is not None)


def merge(base: str, requests: Iterable[Request]) -> str:
    """Returns the text of a .config: `base` with the requests laid over it, the last one of a symbol wins."""
    settings = parse_config(base)
    for request in requests:
        # Taken out first, so that it moves to the end: of a choice, Kconfig takes the last line.
        settings.pop(request.symbol, None)
        settings[request.symbol] = request.value
    return "".join(setting(symbol, value) + "\n" for symbol, value in settings.items())


def dropped(requests: Iterable[Request], resolved: Mapping[str, str]) -> tuple[Dropped, ...]:
    """Returns the requests that did not survive, in the order asked; an overridden request is void."""
    final = {request.symbol: request for request in requests}
    return tuple(
        Dropped(request, resolved.get(request.symbol, NOT_SET))
        for request in final.values()
        if resolved.get(request.symbol, NOT_SET) != request.value
    )


def defined_symbols(kconfig_text: str) -> set[str]:
    """Returns the symbols that the text of a Kconfig file defines."""
    return set(_DEFINITION.findall(kconfig_text))


def _setting_of(line: str) -> tuple[str, str] | None:
    if match := _ASSIGNMENT.fullmatch(line):
        return match[1], match[2]
    if match := _UNSET.fullmatch(line):
        return match[1], NOT_SET
    return None
