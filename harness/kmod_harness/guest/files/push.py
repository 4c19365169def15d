"""Files and directories of the host, copied into the guest as `cp -a` would: links stay links."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from kmod_harness.guest.agent.calls import c_path


class Caller(Protocol):
    """The guest's process that makes the calls."""

    def call(self, name: str, *arguments: int | bytes) -> object: ...


class Receiver(Protocol):
    """The guest, as far as it takes files."""

    @property
    def syscaller(self) -> Caller: ...

    def make_directories(self, path: str) -> None: ...

    def write_file(self, path: str, data: bytes, mode: int = 0o644) -> None: ...


def push(guest: Receiver, source: Path, path: str) -> tuple[Path, ...]:
    """Copies a file, or a directory with all below it, with permissions; a link at `source` is followed.

    Returns what is neither file, directory nor link, such as a FIFO, and was left out: reading it would wait
    for somebody to write. Raises OSError.
    """
    if source.is_dir():
        guest.make_directories(path)
        left_out: list[Path] = []
        for child in sorted(source.iterdir()):
            if child.is_symlink():
                _link(guest.syscaller, os.readlink(child), f"{path}/{child.name}")
            else:
                left_out += push(guest, child, f"{path}/{child.name}")
        return tuple(left_out)
    if not source.is_file():
        return (source,)
    parent = path.rpartition("/")[0]
    if parent:
        guest.make_directories(parent)
    guest.write_file(path, source.read_bytes())
    guest.syscaller.call("chmod", c_path(path), source.stat().st_mode & 0o7777)
    return ()


def _link(process: Caller, target: str, path: str) -> None:
    """Makes a symbolic link, in place of one that is there."""
    link = (c_path(target), c_path(path))
    try:
        process.call("symlink", *link)
    except FileExistsError:
        process.call("unlink", c_path(path))
        process.call("symlink", *link)
