"""The kernel's options without which modules do not build, found by what was missed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kmod_harness.build.reasons.complaints import Complaints
from kmod_harness.build.reasons.header_conditions import needed_by_member, needed_by_name
from kmod_harness.build.reasons.kernel_makefiles import options_of

_EXPORT = re.compile(r"^(?P<file>[^:]+):\s*EXPORT_\w*SYMBOL\w*\s*\(\s*(?P<symbol>\w+)")
#: Directories whose exports no module uses.
_PASSED_OVER = ("tools/", "scripts/", "samples/", "arch/", "Documentation/")
_HEADERS = ("include", "arch/x86/include")
_SECONDS = 120


@dataclass(frozen=True)
class MissingOption:
    """An option that the kernel was built without, and what was missed for it.

    around: options that Makefiles ask for besides, outermost first
    """

    name: str
    missed: tuple[str, ...] = ()
    around: tuple[str, ...] = ()


def missing_options(
    complaints: Complaints, tree: Path, config: Mapping[str, str]
) -> tuple[MissingOption, ...]:
    """Returns the options that explain what a build complains of, in the order of the complaints.

    tree: the kernel's source. config: symbol -> value of the kernel that was built for.
    """
    found: dict[tuple[str, ...], list[str]] = {}

    def note(options: Iterable[str], missed: str) -> None:
        unset = _unset(options, config)
        if unset:
            found.setdefault(unset, []).append(missed)

    for symbol, files in _exporters(tree, (*complaints.symbols, *complaints.names)).items():
        # of one that several files export, the nearest
        asked = [_unset(options_of(tree, file, config), config) for file in files]
        nearest: tuple[str, ...] = min(asked, key=len)
        note(nearest, symbol)
    explained = {missed for names in found.values() for missed in names}
    for name in complaints.names:
        if name not in explained:
            places = _headers_with(tree, name)
            note(
                _unset_everywhere([one for text in places for one in needed_by_name(text, name)], config),
                name,
            )
    for structure, member in complaints.members:
        places = _headers_with(tree, structure)
        needed = [one for text in places for one in needed_by_member(text, structure, member)]
        note(_unset_everywhere(needed, config), f"struct {structure}.{member}")
    return tuple(
        MissingOption(unset[-1], tuple(dict.fromkeys(missed)), unset[:-1]) for unset, missed in found.items()
    )


def _unset(options: Iterable[str], config: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(option for option in options if config.get(option, "n") == "n")


def _unset_everywhere(
    needed: list[tuple[tuple[str, ...], ...]], config: Mapping[str, str]
) -> tuple[str, ...]:
    """Returns the unset options of the first place, where no place does without."""
    unset = [
        [group[0] for group in groups if all(config.get(option, "n") == "n" for option in group)]
        for groups in needed
    ]
    return tuple(unset[0]) if unset and all(unset) else ()


def _exporters(tree: Path, names: tuple[str, ...]) -> dict[str, list[PurePosixPath]]:
    """Returns the source files that export each of these symbols, where there are any."""
    if not names:
        return {}
    pattern = rf"^\s*EXPORT_\w*SYMBOL\w*\s*\(\s*({'|'.join(map(re.escape, names))})\s*[,)]"
    exporters: dict[str, list[PurePosixPath]] = {}
    for line in _grep(tree, ["-rHE", "--include=*.c", "--include=*.S", pattern, "."]):
        match = _EXPORT.match(line.removeprefix("./"))
        if match and (not match["file"].startswith(_PASSED_OVER) or match["file"].startswith("arch/x86/")):
            exporters.setdefault(match["symbol"], []).append(PurePosixPath(match["file"]))
    # in the order in which they were missed
    return {name: exporters[name] for name in names if name in exporters}


def _headers_with(tree: Path, name: str) -> list[str]:
    files = _grep(tree, ["-rlwF", "--include=*.h", name, *_HEADERS])
    return [(tree / file).read_text(errors="replace") for file in sorted(files)[:200]]


def _grep(tree: Path, arguments: list[str]) -> list[str]:
    try:
        done = subprocess.run(
            ["grep", *arguments],
            cwd=tree,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines()
