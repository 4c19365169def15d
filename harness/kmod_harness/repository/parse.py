"""From the text of kmod-harness.toml to what it says; each mistake is told with its line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kmod_harness.errors import Misuse
from kmod_harness.repository.keys import ALLOWED_KEYS, LIMIT_KEYS, MACHINE_KEYS, MODULE_KEYS, Key
from kmod_harness.repository.locate import FILE, PYPROJECT, TABLE
from kmod_harness.repository.settings import MachineDefaults, Repository, RepositoryModules
from kmod_harness.repository.wrong_value import WrongValue, shown

_TOP_KEYS = (*MACHINE_KEYS, *LIMIT_KEYS, *ALLOWED_KEYS)
_MODULES = "modules"
#: Every key, dotted, in the order of the documentation.
KEY_NAMES = tuple(key.name for key in (*_TOP_KEYS, *MODULE_KEYS))


def parse_settings(data: bytes, file: Path) -> Repository:
    """Return the settings in the content of `file`.

    Raises Misuse that names the file, the line, and what was expected: broken TOML, unknown keys, values
    of another type or out of range.
    """
    text = _decoded(data, file)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _broken(file, str(error), text) from None
    except RecursionError:
        raise Misuse(f"{file}: too deeply nested to be read") from None
    prefix = TABLE if file.name == PYPROJECT else ()
    table = _table(document, prefix)
    mistakes: list[tuple[str, str]] = []
    said = _read(table, _TOP_KEYS, file.parent, mistakes)
    modules = table.get(_MODULES, {})
    if isinstance(modules, dict):
        dotted = {f"{_MODULES}.{name}": value for name, value in modules.items()}
        said_of_modules = _read(dotted, MODULE_KEYS, file.parent, mistakes)
        mistakes += _unknown(dotted, [key.name for key in MODULE_KEYS])
        mistakes += _contradictions(dotted)
    else:
        said_of_modules = {}
        mistakes.append((_MODULES, f"is a table, not {shown(modules)}"))
    top = {name: value for name, value in table.items() if name != _MODULES}
    mistakes += _unknown(top, [key.name for key in _TOP_KEYS])
    if mistakes:
        raise _told(mistakes, file, text, prefix)
    limits = {key.setting: said.pop(key.setting, None) for key in LIMIT_KEYS}
    return Repository(
        file=file,
        allowed=said.pop("allowed", ()),
        machine=MachineDefaults(**said),
        modules=RepositoryModules(**said_of_modules),
        **limits,
    )


def _decoded(data: bytes, file: Path) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Misuse(f"{file}:{line}: a byte that is no UTF-8", advice="TOML files are UTF-8") from None


def _broken(file: Path, said: str, text: str) -> Misuse:
    """tomllib ends its message with the place: `... (at line 3, column 5)`, or `(at end of document)`."""
    message, _, place = said.rpartition(" (at ")
    at = re.match(r"line (\d+)", place)
    number = int(at[1]) if at else text.rstrip("\n").count("\n") + 1
    line = text.splitlines()[number - 1] if text.splitlines() else ""
    return Misuse(f"{file}:{number}: this is no TOML: {message or said}", evidence=line.strip())


def _table(document: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    for name in path:
        document = document.get(name, {})
        if not isinstance(document, dict):
            return {}
    return document


def _read(
    table: Mapping[str, Any], keys: Sequence[Key], directory: Path, mistakes: list[tuple[str, str]]
) -> dict[str, Any]:
    """Return field -> setting of the keys that are there; what is wrong is added to the mistakes."""
    said: dict[str, Any] = {}
    for key in keys:
        if key.name not in table:
            continue
        try:
            said[key.setting] = key.read(table[key.name], directory)
        except WrongValue as error:
            mistakes.append((key.name, str(error)))
    return said


def _unknown(table: Mapping[str, Any], known: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, f"is no key of kmod-harness{_meant(name)}") for name in table if name not in known]


def _meant(name: str) -> str:
    """Return the known key nearest to an unknown one, "" when none is near."""
    if name == TABLE[0]:
        return f": in {FILE} the keys stand at the top, without [{'.'.join(TABLE)}]"
    table, _, last = name.rpartition(".")
    places = {key.rpartition(".")[2]: key.rpartition(".")[0] for key in KEY_NAMES}
    near = difflib.get_close_matches(last.replace("_", "-"), places, n=1)
    if not near:
        return ""
    place = places[near[0]]
    if place == table:
        return f"; did you mean `{near[0]}`?"
    where = f"below [{place}]" if place else f"at the top, before [{table}]"
    return f": it stands {where}" if near[0] == last else f"; did you mean `{near[0]}`? It stands {where}"


def _contradictions(modules: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "modules.kbuild" in modules and "modules.build" in modules:
        return [("modules.build", "and `modules.kbuild` are two ways to build: say one")]
    if "modules.build" in modules and "modules.load" not in modules:
        return [("modules.build", "needs `modules.load`: the .ko files that the command makes")]
    return []


def _told(mistakes: Sequence[tuple[str, str]], file: Path, text: str, prefix: Sequence[str]) -> Misuse:
    lines = [(_line_of(text, (*prefix, *name.split("."))), f"`{name}` {what}") for name, what in mistakes]
    are_unknown = any("is no key" in what for _, what in lines)
    advice = f"the keys: {', '.join(KEY_NAMES)}" if are_unknown else ""
    if len(lines) == 1:
        ((line, what),) = lines
        return Misuse(f"{file}:{line}: {what}" if line else f"{file}: {what}", advice=advice)
    told = [f"line {line}: {what}" if line else what for line, what in sorted(lines)]
    return Misuse(f"{file} has {len(told)} mistakes", evidence="\n".join(told), advice=advice)


def _line_of(text: str, path: Sequence[str]) -> int:
    """Return the number of the line that a key or its table stands in, 0 where it is written oddly."""
    table: list[str] = []
    wanted = list(path)
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\s*\[+([^\[\]]+)\]", line):
            table = _words(head[1])
            if table == wanted:
                return number
        elif (key := re.match(r"\s*([\w.\"'\- ]+?)\s*=", line)) and [*table, *_words(key[1])] == wanted:
            return number
    return 0


def _words(dotted: str) -> list[str]:
    return [word.strip().strip("\"'") for word in dotted.split(".")]
