"""The failure of a Buildroot run, found in its output. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
#: ">>> busybox 1.37.0 Building", as Buildroot's MESSAGE prints it (Makefile, 2026.02).
_STEP = re.compile(r">>> (\S+) (\S*) ?([A-Z].*)$")
#: "make[1]: *** [package/pkg-generic.mk:283: /o/build/host-acl-2.3.2/.stamp_built] Error 2"
_STAMP = re.compile(r"\*\*\* \[.*?/build/([^/\]]+)/\.(?:stamp_(\w+))\] Error \d+")
_LAST_LINES = 15


@dataclass(frozen=True)
class BuildrootFailure:
    """The step that failed.

    package: name and version of the package, "" when the step belongs to none
    step: name of the step
    lines: the last lines before make's own
    """

    package: str
    step: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        if not self.package:
            return "Buildroot failed"
        return f"Buildroot failed at the package {self.package}" + (f" ({self.step})" if self.step else "")


def step_of(line: str) -> str:
    """Returns `PACKAGE VERSION Step` for a line that starts a step, else ""."""
    match = _STEP.search(_ESCAPE.sub("", line))
    return " ".join(filter(None, match.groups())) if match else ""


def failure_in(output: str) -> BuildrootFailure:
    """Returns the package whose step ended a run, and the last lines of its output."""
    lines = [_ESCAPE.sub("", line) for line in output.splitlines()]
    for number, line in enumerate(lines):
        match = _STAMP.search(line)
        if match is None:
            continue
        package, step = match[1], (match[2] or "").replace("_", " ")
        # steps of several packages run in parallel: the stamp names the one that failed
        return BuildrootFailure(package, step, tuple(lines[max(0, number - _LAST_LINES) : number + 1]))
    return BuildrootFailure("", "", tuple(lines[-_LAST_LINES:]))
