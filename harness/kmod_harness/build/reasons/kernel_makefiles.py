"""The options by which the kernel's Makefiles have a source file compiled. Pure, but for reading them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath

#: Objects added to a list: `obj-$(CONFIG_X) += a.o b/`, `name-objs := c.o`, `name-$(CONFIG_Y) += d.o`.
_LIST = re.compile(r"^\s*([\w.-]+?)-(\$[({]CONFIG_\w+[)}]|y|m|objs)\s*[:+]?=\s*(.*)$", re.MULTILINE)
_OPTION = re.compile(r"CONFIG_(\w+)")


def options_of(tree: Path, source: PurePosixPath, config: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the options without which a file of the kernel is not compiled, the outermost first.

    source: the .c or .S file, relative to the tree. config: symbol -> value; where one of several options is
    enough, one that is set is taken, and none where none is.
    """
    options: list[str] = []
    directory = source.parent
    word = f"{source.stem}.o"
    while directory != PurePosixPath():
        options += _options_in(_makefile(tree / directory), word, config)
        word, directory = f"{directory.name}/", directory.parent
    options += _options_in(_makefile(tree), word, config)
    return tuple(dict.fromkeys(reversed(options)))


def _options_in(text: str, word: str, config: Mapping[str, str]) -> list[str]:
    """Returns the options of the lists that lead from an object, or a directory, to `obj`."""
    options: list[str] = []
    lists = [(name, _OPTION.findall(kind), value.split()) for name, kind, value in _LIST.findall(text)]
    for _ in range(4):
        holding = {tuple(asked): name for name, asked, words in lists if word in words}
        if not holding:
            return options
        enough = [asked for asked in holding if all(config.get(one, "n") != "n" for one in asked)]
        asked = enough[0] if enough else next(iter(holding))
        options += asked if enough or len(holding) == 1 else ()
        if holding[asked] in ("obj", "lib", "core", "drivers", "net"):
            return options
        word = f"{holding[asked]}.o"
    return options


@cache
def _makefile(directory: Path) -> str:
    for name in ("Kbuild", "Makefile"):
        try:
            return re.sub(r"\\\n\s*", " ", (directory / name).read_text(errors="replace"))
        except OSError:
            continue
    return ""
