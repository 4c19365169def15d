"""A Makefile that calls kbuild itself: the variables by which it takes the kernel, and the target to make."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Names that Makefiles of modules give to the kernel's build directory, where their text does not tell.
_DIRECTORY_NAMES = re.compile(
    r"K(?:ERNEL|ERN)?_?(?:BUILD_?)?(?:DIR|SRC|SRCDIR|TREE|PATH|SOURCE)|KERNEL_BUILD|LINUX_?(?:DIR|SRC)"
)
_ASSIGNMENT = re.compile(
    r"^[ ]*(?:export\s+|override\s+)*([\w.-]+)[ \t]*(:::?=|[:?]?=)[ \t]*(.*)$", re.MULTILINE
)
_VARIABLE = re.compile(r"\$\(([\w.-]+)\)|\$\{([\w.-]+)\}")
_HEADERS = re.compile(r"/lib/modules/\S.*/(?:build|source)/?")
_RELEASE = re.compile(r"(?:\$\(shell\s+uname\s+-r\s*\)|`uname -r`)")
#: A call of kbuild: make in the kernel's directory, for modules that lie elsewhere.
_CALL = re.compile(r"(?:\$[({]MAKE[)}]|\bmake\b)\s.*?-C\s*(\S+).*?\b(?:M|SUBDIRS|KBUILD_EXTMOD)=(\S+)(.*)")
_RULE = re.compile(r"^([^\t\s#:=][^:=#]*):{1,2}(?!=)([^=#;]*)(?:[#;].*)?$")
#: A word of such a call that any build has.
_USUAL = re.compile(
    r"-\S*|modules?|\$@|pwd\)[\"']?|(?:V|O|W|C|ARCH|CROSS_COMPILE|PWD|LLVM|CC|LD)=\S*|[\"'|&;>].*"
)
#: The directory of the Makefile itself.
_HERE = re.compile(r"\$[({](?:PWD|CURDIR)[)}]|\$\$\{?PWD\}?|`pwd`|\$\(shell(?: pwd\))?|\.")
_GIVES_MODULES = re.compile(r"\b(?:M|SUBDIRS|KBUILD_EXTMOD)=")
#: Targets that do not build.
_OTHER_TARGETS = re.compile(r".*(?:clean|install|help|load|check|tags|cscope|test).*|\.PHONY")
_MAKEFILES = ("GNUmakefile", "makefile", "Makefile", "Kbuild")
_DEPTH = 4


@dataclass(frozen=True)
class KernelVariables:
    """The variables by which Makefiles take a kernel.

    directories: those that hold its build directory
    releases: those that hold its release
    """

    directories: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()

    def settings(self, build_dir: Path, release: str) -> tuple[str, ...]:
        """Returns `NAME=value` for each, for make's command line."""
        return (
            *(f"{name}={build_dir}" for name in self.directories),
            *(f"{name}={release}" for name in self.releases),
        )


@dataclass(frozen=True)
class KbuildCall:
    """A rule that calls kbuild.

    target: the rule's first
    says_more: whether it makes something before, builds elsewhere, or gives kbuild variables of its own
    """

    target: str
    says_more: bool


def kernel_variables(texts: Iterable[str]) -> KernelVariables:
    """Returns the variables by which Makefiles with these texts take a kernel.

    >>> kernel_variables(["KVER ?= $(shell uname -r)\\nKDIR ?= /lib/modules/$(KVER)/build\\n"])
    KernelVariables(directories=('KDIR',), releases=('KVER',))
    """
    directories: dict[str, None] = {}
    releases: dict[str, None] = {}
    for text in texts:
        plain = _joined(text)
        values = _values(plain)
        for name, value in values.items():
            full = _expanded(value, values).strip("\"' ")
            if _HEADERS.fullmatch(full):
                directories.setdefault(name)
            # kbuild's own variable, by which a Makefile knows that kbuild reads it
            elif _RELEASE.fullmatch(full) and name != "KERNELRELEASE":
                releases.setdefault(name)
        called = (_VARIABLE.fullmatch(match[1].strip("\"'")) for match in _CALL.finditer(plain))
        named = [*filter(None, called)]
        named += [one for one in _VARIABLE.finditer(plain) if _DIRECTORY_NAMES.fullmatch(_name(one))]
        for name in map(_name, named):
            # one with another value is not the kernel's
            if name not in values and name not in ("CURDIR", "PWD", "KBUILD_EXTMOD"):
                directories.setdefault(name)
    return KernelVariables(tuple(directories), tuple(releases))


def kbuild_call(text: str) -> KbuildCall | None:
    """Returns the first rule of a Makefile that calls kbuild to build modules, None without one."""
    plain = _joined(text)
    values = _values(plain)
    flags = {name: value for name, value in values.items() if _GIVES_MODULES.search(value)}
    here = {name: "$(CURDIR)" for name, value in values.items() if _HERE.fullmatch(value)}
    targets: list[str] = []
    before: list[str] = []
    for line in plain.split("\n"):
        if not line.startswith("\t"):
            rule = _RULE.match(line)
            if rule:
                targets = [word for word in rule[1].split() if not _OTHER_TARGETS.fullmatch(word)]
                before = [word for word in rule[2].split() if not word.endswith((".c", ".h"))]
            continue
        call = _CALL.search(_expanded(line, {**flags, **here}))
        if call is None or not targets:
            continue
        more = [word for word in call[3].split() if not _USUAL.fullmatch(word)]
        elsewhere = _HERE.fullmatch(call[2].strip("\"'")) is None
        plain_target = targets[0] if re.fullmatch(r"[\w.+-]+", targets[0]) else ""
        return KbuildCall(plain_target, bool(before or more) or elsewhere)
    return None


def makefile_texts(directory: Path) -> Mapping[Path, str]:
    """Returns the Makefiles of a directory and of those below it, with their texts, the nearest first."""
    found: dict[Path, str] = {}
    for parent, directories, files in os.walk(directory):
        below = Path(parent).relative_to(directory)
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        if len(below.parts) >= _DEPTH:
            directories.clear()
        for name in files:
            if name in _MAKEFILES or name.endswith((".mk", ".mak")):
                found[below / name] = _text(Path(parent, name))
    return dict(sorted(found.items(), key=lambda item: (len(item[0].parts), item[0])))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _name(variable: re.Match[str]) -> str:
    return variable[1] or variable[2]


def _values(plain: str) -> dict[str, str]:
    """Returns the first value of each variable that a Makefile assigns."""
    values: dict[str, str] = {}
    for name, _, value in _ASSIGNMENT.findall(plain):
        values.setdefault(name, re.sub(r"\s#.*", "", value).strip())
    return values


def _joined(text: str) -> str:
    return re.sub(r"\\\r?\n[ \t]*", " ", text.replace("\r\n", "\n"))


def _expanded(text: str, values: Mapping[str, str]) -> str:
    # one that names itself has no end
    for _ in range(10):
        new = _VARIABLE.sub(lambda match: values.get(_name(match), match[0]), text)
        if new == text:
            return new
        text = new
    return text
