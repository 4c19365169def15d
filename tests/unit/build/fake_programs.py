"""A machine that has the programs which a build asks for, none of which the build of a test may run."""

from __future__ import annotations

from pathlib import Path

#: What a fake does where nothing runs it.
_NEVER = 'echo "$0 is a fake, to be found and not to be run" >&2; exit 1'


def make_programs(directory: Path, *names: str, does: str = _NEVER) -> Path:
    """Returns the directory, a piece of PATH, with a program of each name; `does` is for /bin/sh."""
    directory.mkdir(exist_ok=True)
    for name in names:
        (directory / name).write_text(f"#!/bin/sh\n{does}\n")
        (directory / name).chmod(0o755)
    return directory
