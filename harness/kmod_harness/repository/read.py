"""Reading what the repository around a directory says."""

from __future__ import annotations

from pathlib import Path

from kmod_harness.host.directories import working_directory
from kmod_harness.repository.locate import find_file
from kmod_harness.repository.settings import Repository


def read_repository(start: Path | None = None) -> Repository:
    """Return the settings of the repository around a directory (default: the working directory).

    Raises Misuse, with file and line, for what is wrong in its file.
    """
    start = start or working_directory()
    file = find_file(start) if start is not None else None
    if file is None:
        return Repository()
    from kmod_harness.repository.parse import parse_settings  # lazy

    return parse_settings(file.read_bytes(), file)
