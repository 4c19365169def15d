"""The kernel's Kconfig files: what each symbol depends on, and what selects it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kmod_harness.build.reasons.kconfig_expression import TRUE, Expression, all_of, parse_expression

_ARCHITECTURE = "x86"
_ENTRY = re.compile(r"(?:menu)?config\s+(\w+)\s*$")
_PROMPT = re.compile(
    r"(?:bool|tristate|string|int|hex|prompt)\s+(\"(?:[^\"\\]|\\.)*\"|'[^']*')(?:\s+if\s+(.*))?$"
)
_COMMENT = re.compile(r"^((?:\"(?:[^\"\\]|\\.)*\"|[^\"#])*)#.*")
_BLOCKS = ("menu", "if", "choice", "comment", "endmenu", "endif", "endchoice")
_DEFAULT = re.compile(r"(?:def_bool|def_tristate|default)\s+(.*?)(?:\s+if\s+(.*))?$")
_SELECT = re.compile(r"select\s+(\w+)(?:\s+if\s+(.*))?$")


@dataclass
class Symbol:
    """A symbol of Kconfig.

    can_be_asked: whether it has a prompt, so that a .config may set it
    needs: what has to be true before it can be set
    defaults: what has it set by itself, where `needs` are true; one is enough
    selects: symbol -> condition
    file: that defines it
    """

    name: str
    can_be_asked: bool = False
    needs: Expression = TRUE
    defaults: list[Expression] = field(default_factory=list)
    selects: dict[str, Expression] = field(default_factory=dict)
    file: str = ""


def read_symbols(tree: Path) -> dict[str, Symbol]:
    """Returns the symbols of a kernel's source tree by name."""
    symbols: dict[str, Symbol] = {}
    for file, name, attributes, around in _entries(_lines(tree, "Kconfig")):
        symbol = symbols.setdefault(name, Symbol(name, file=file))
        needs, asked = list(around), False
        for line in attributes:
            prompt, selected, default = _PROMPT.match(line), _SELECT.match(line), _DEFAULT.match(line)
            if line.startswith("depends on "):
                needs.append(parse_expression(line.removeprefix("depends on ")))
            elif prompt:
                asked = True
                needs += [parse_expression(prompt[2])] if prompt[2] else []
            elif selected:
                symbol.selects[selected[1]] = parse_expression(selected[2] or "y")
            elif default and not default[1].startswith(("n", '"', "$")):
                symbol.defaults.append(all_of([parse_expression(part) for part in default.groups() if part]))
        # the first definition with a prompt is the one that a .config meets
        if (asked and not symbol.can_be_asked) or symbol.needs == TRUE:
            symbol.needs = all_of(needs)
        symbol.can_be_asked = symbol.can_be_asked or asked
    return symbols


def _lines(tree: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yields a file's name and its lines, and those it sources, joined, without help texts and comments."""
    try:
        text = (tree / name.replace("$(SRCARCH)", _ARCHITECTURE)).read_text(errors="replace")
    except OSError:
        return
    help_indent = -1
    in_help = False
    for line in re.sub(r"\\\n\s*", " ", text).expandtabs().split("\n"):
        indent, plain = len(line) - len(line.lstrip()), line.strip()
        if in_help:
            if not plain:
                continue
            if help_indent < 0:
                help_indent = indent
            if indent >= help_indent and indent > 0:
                continue
            in_help = False
        if plain in ("help", "---help---"):
            in_help, help_indent = True, -1
            continue
        plain = _COMMENT.sub(r"\1", plain).strip()
        source = re.match(r"o?r?source\s+\"?([^\"]+)\"?", plain)
        if source:
            yield from _lines(tree, source[1])
        elif plain:
            yield name, plain


def _entries(
    lines: Iterator[tuple[str, str]],
) -> Iterator[tuple[str, str, list[str], list[Expression]]]:
    """Yields each symbol's file and name, its attributes, and the conditions of the blocks around it."""
    #: of each open block: its conditions, which a menu's and a choice's own attributes add to
    blocks: list[list[Expression]] = []
    name = file = ""
    attributes: list[str] = []
    around: list[Expression] = []
    in_block_head = False
    for in_file, line in lines:
        word = line.split()[0]
        entry = _ENTRY.match(line)
        ends = entry is not None or word in _BLOCKS
        if ends and name:
            yield file, name, attributes, around
            name = ""
        if entry:
            file, name, attributes, in_block_head = in_file, entry[1], [], False
            around = [one for block in blocks for one in block]
        elif word in ("menu", "choice"):
            blocks.append([])
            in_block_head = True
        elif word == "if":
            blocks.append([parse_expression(line.removeprefix("if"))])
            in_block_head = False
        elif word in ("endmenu", "endif", "endchoice"):
            del blocks[-1:]
            in_block_head = False
        elif word == "comment":
            in_block_head = False
        elif name:
            attributes.append(line)
        elif in_block_head and line.startswith("depends on ") and blocks:
            blocks[-1].append(parse_expression(line.removeprefix("depends on ")))
    if name:
        yield file, name, attributes, around
