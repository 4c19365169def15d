"""depmod's files (kmod 30), read and written: modules.dep, .softdep, .alias, .builtin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.kmod.loading.names import Alias, plain


@dataclass(frozen=True)
class Softdeps:
    """Modules, or aliases of them, that modprobe tries to load before and after a module."""

    pre: tuple[str, ...] = ()
    post: tuple[str, ...] = ()

    def __add__(self, other: Softdeps) -> Softdeps:
        """Returns both, each name once."""
        return Softdeps(
            tuple(dict.fromkeys((*self.pre, *other.pre))), tuple(dict.fromkeys((*self.post, *other.post)))
        )

    def __str__(self) -> str:
        parts = ((label, names) for label, names in (("pre:", self.pre), ("post:", self.post)) if names)
        return " ".join(word for label, names in parts for word in (label, *names))


def module_name(path: str) -> str:
    """Returns the plain name of the module in a file: `kernel/fs/xfs/xfs.ko.xz` is xfs."""
    return plain(path.rpartition("/")[2].split(".", 1)[0])


def parse_softdep(value: str) -> Softdeps:
    """Returns the softdeps in .modinfo's `softdep=`: `pre: a b post: c` (include/linux/module.h)."""
    found: dict[str, list[str]] = {"pre:": [], "post:": []}
    under = None
    for word in value.split():
        if word in found:
            under = found[word]
        elif under is not None:
            under.append(word)
    return Softdeps(tuple(found["pre:"]), tuple(found["post:"]))


def softdeps_of(modinfo: Iterable[tuple[str, str]]) -> Softdeps:
    """Returns all that a module's .modinfo says of softdeps."""
    return sum((parse_softdep(value) for tag, value in modinfo if tag == "softdep"), Softdeps())


def parse_dep(text: str) -> dict[str, tuple[str, ...]]:
    """Returns file -> files that it needs, of modules.dep (`a.ko: b.ko c.ko`), paths as they stand there."""
    lines = (line.partition(":") for line in text.splitlines())
    return {file.strip(): tuple(needed.split()) for file, colon, needed in lines if colon and file.strip()}


def parse_softdeps(text: str) -> dict[str, Softdeps]:
    """Returns module -> softdeps, of modules.softdep (`softdep NAME pre: a post: b`)."""
    found: dict[str, Softdeps] = {}
    for words in _lines(text, "softdep", 3):
        name = plain(words[1])
        found[name] = found.get(name, Softdeps()) + parse_softdep(words[2])
    return found


def parse_aliases(text: str) -> tuple[Alias, ...]:
    """Returns the aliases of modules.alias (`alias PATTERN NAME`)."""
    return tuple(Alias(words[1], plain(words[2].strip())) for words in _lines(text, "alias", 3))


def parse_builtin(text: str) -> frozenset[str]:
    """Returns the names of the built-in modules, of modules.builtin (a path each line)."""
    return frozenset(module_name(line) for line in text.split())


def parse_builtin_modinfo(data: bytes) -> tuple[Alias, ...]:
    """Returns the aliases of built-in modules, of modules.builtin.modinfo: `NAME.alias=PATTERN`, then NUL."""
    found = []
    for record in data.split(b"\0"):
        left, equals, value = record.decode("utf-8", "replace").partition("=")
        module, dot, tag = left.partition(".")
        if equals and dot and tag == "alias":
            found.append(Alias(value, plain(module)))
    return tuple(found)


def format_dep(needs: Mapping[str, Iterable[str]]) -> str:
    """Returns the text of modules.dep for file -> files that it needs."""
    return "".join(f"{file}:{''.join(f' {other}' for other in needed)}\n" for file, needed in needs.items())


def format_softdeps(softdeps: Mapping[str, Softdeps]) -> str:
    """Returns the text of modules.softdep."""
    return "".join(f"softdep {name} {softdep}\n" for name, softdep in softdeps.items() if str(softdep))


def format_aliases(aliases: Iterable[Alias]) -> str:
    """Returns the text of modules.alias."""
    return "".join(f"alias {alias.pattern} {alias.module}\n" for alias in aliases)


def format_builtin(names: Iterable[str]) -> str:
    """Returns the text of modules.builtin for the names of built-in modules."""
    return "".join(f"kernel/{name}.ko\n" for name in sorted(names))


def files_in(directory: Path, needs: Mapping[str, Iterable[str]]) -> dict[str, Path]:
    """Returns module -> path, of the files that modules.dep lists, relative to its directory or absolute."""
    return {module_name(file): directory / file for file in needs}


def _lines(text: str, keyword: str, words: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        found = line.split(None, words - 1)
        if len(found) == words and found[0] == keyword:
            yield found
