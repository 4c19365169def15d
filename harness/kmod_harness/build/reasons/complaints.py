"""The complaints of compiler, modpost and make, read from a build's output. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from kmod_harness.build.kernel.kbuild import first_error

#: gcc's and clang's, and make's `FILE:LINE: *** TEXT.  Stop.`
_AT_LINE = re.compile(r"(?P<file>[^\s:]+):(?P<line>\d+):(?:\d+:)? (?:(?:fatal )?error: |\*\*\* )(?P<text>.*)")
_UNDEFINED = re.compile(r'ERROR: modpost: "(\w+)" \[(\S+)\] undefined!')
_HEADER = re.compile(r"fatal error: (\S+): No such file or directory")
_MEMBER = re.compile(
    r"error: '(?:\w+' \{aka ')?(?:const |volatile )*(?:struct|union) (\w+)'\}? has no member named '(\w+)'"
)
_UNKNOWN = (
    re.compile(r"error: (?:implicit declaration of function|unknown type name|storage size of) '(\w+)'"),
    re.compile(r"error: '(\w+)' undeclared"),
    re.compile(r"undefined type '(?:struct|union) (\w+)'"),
    re.compile(r"incomplete (?:type|typedef) '(?:const )?(?:struct|union) (\w+)"),
    re.compile(r"error: call to undeclared function '(\w+)'"),
)
_OPTION = re.compile(r"\bCONFIG_(\w+)\b")
_WORD = re.compile(r"\b[A-Z][A-Z0-9_]{2,}\b")
#: What a Makefile's $(error) or a header's #error says of options.
_SAID = re.compile(r"(?:#error|\*\*\*)(.*)")
#: A configure script's.
_CONFIGURE = re.compile(r"(?:configure: |\W* ?)(?:error|Error|ERROR): (?!modpost)(.*)")
_NO_RULE = re.compile(r"\*\*\* (No rule to make target '.*)  Stop\.")
#: How many lines are shown below the first error.
_SHOWN = 5


@dataclass(frozen=True)
class Complaints:
    """The complaints in a build's output.

    first: the first error, one line
    shown: what the compiler shows below it
    symbols: not exported by kernel or modules, as modpost found
    names: functions, types and constants that the compiler does not know
    members: (structure, member) that it does not know
    headers: files that do not exist
    words: names that may be options, from what the sources' own checks say
    """

    first: str = ""
    shown: str = ""
    symbols: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    members: tuple[tuple[str, str], ...] = ()
    headers: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def read_complaints(output: str) -> Complaints:
    """Returns the complaints in a build's output, each once and in its order."""
    # gcc quotes by the language of the caller's terminal, which kbuild keeps
    lines = output.translate({0x2018: "'", 0x2019: "'"}).splitlines()
    undefined = [match for line in lines if (match := _UNDEFINED.search(line))]
    symbols = _once(match[1] for match in undefined)
    said = [match[1] for line in lines if (match := _SAID.search(line)) and not _is_makes_own(match[1])]
    first, shown = _first(lines, undefined)
    return Complaints(
        first=first,
        shown=shown,
        symbols=symbols,
        names=_once(match[1] for line in lines for one in _UNKNOWN if (match := one.search(line))),
        members=tuple(dict.fromkeys((m[1], m[2]) for line in lines if (m := _MEMBER.search(line)))),
        headers=_once(match[1] for line in lines if (match := _HEADER.search(line))),
        words=_once(word for text in said for word in (*_OPTION.findall(text), *_WORD.findall(text))),
    )


def _first(lines: list[str], undefined: list[re.Match[str]]) -> tuple[str, str]:
    for number, line in enumerate(lines):
        match = _AT_LINE.search(line)
        if match and not match["text"].startswith("["):
            below = []
            for one in lines[number + 1 : number + 1 + _SHOWN]:
                if not one.startswith(" ") or one.startswith("  CC") or _AT_LINE.search(one):
                    break
                below.append(one)
            return match[0], "\n".join(below)
    if undefined:
        module, symbol = undefined[0][2], undefined[0][1]
        own = [match[1] for match in undefined if match[2] == module]
        more = (
            f" and {len(own) - 1} more symbols" if len(own) > 2 else f" and {own[1]}" if len(own) == 2 else ""
        )
        return f"{module} needs {symbol}{more}, which neither this kernel nor a module beside it exports", ""
    for line in lines:
        if match := _CONFIGURE.fullmatch(line):
            return match[0].strip(), ""
        if match := _NO_RULE.search(line):
            return f"make: {match[1]}", ""
    return "", first_error("\n".join(lines))


def _is_makes_own(text: str) -> bool:
    """Returns whether make itself says it: `*** [Makefile:3: all] Error 1`, `*** No rule to make ...`."""
    return text.strip().startswith(("[", "No rule", "No targets", "Waiting for"))


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
