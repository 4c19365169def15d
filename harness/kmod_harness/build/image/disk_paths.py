"""The paths in an ext4 image, read by debugfs (e2fsprogs), which needs no root and mounts nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from kmod_harness.build.cache import Cache
from kmod_harness.build.cached_from_files import cached_from_files

#: What `ls -p` prints (debugfs/ls.c, e2fsprogs 1.47): /INODE/MODE/UID/GID/NAME/SIZE/, the mode in octal.
_ENTRY = re.compile(r"/([1-9]\d*)/(\d+)/\d+/\d+/([^/]+)/\d*/")
_COMMAND = re.compile(r"debugfs: \w+(?: -p)? <(\d+)>")
#: debugfs shows only targets that fit into the inode, of less than 60 bytes.
_TARGET = re.compile(r'Fast link dest: "(.*)"')
_DIRECTORY, _SYMLINK = 0o040000, 0o120000
_ROOT = 2


def disk_paths(image: Path, *, cache: Cache | None = None) -> dict[str, str]:
    """Returns the absolute paths in an ext4 image, each with the target of a symlink or "".

    Empty where debugfs is missing or does not understand the image. Takes a second for 10,000 files, once.
    """
    # /sbin is not in every PATH
    program = shutil.which("debugfs", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if program is None:
        return {}
    return cached_from_files("disk-paths-1", [image], lambda: _paths_in(program, image), cache)


def _paths_in(program: str, image: Path) -> dict[str, str]:
    paths: dict[str, str] = {}
    links: dict[int, list[str]] = {}
    level = {_ROOT: ""}
    while level:
        below: dict[int, str] = {}
        for directory, line in _ask(program, image, "ls -p", level):
            entry = _ENTRY.fullmatch(line)
            if entry is None or entry[3] in (".", ".."):
                continue
            inode, kind, path = int(entry[1]), int(entry[2], 8) & 0o170000, f"{level[directory]}/{entry[3]}"
            paths[path] = ""
            if kind == _DIRECTORY:
                below[inode] = path
            elif kind == _SYMLINK:
                links.setdefault(inode, []).append(path)
        level = below
    for inode, line in _ask(program, image, "stat", links):
        if target := _TARGET.match(line):
            paths.update(dict.fromkeys(links[inode], target[1]))
    return paths


def _ask(program: str, image: Path, command: str, inodes: Iterable[int]) -> Iterator[tuple[int, str]]:
    """Yields (inode, line) for each line of debugfs's answers to a command about inodes."""
    script = "".join(f"{command} <{inode}>\n" for inode in inodes)
    done = subprocess.run(
        [program, "-f", "/dev/stdin", str(image)],
        input=script.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    inode = 0
    for line in done.stdout.decode(errors="surrogateescape").split("\n"):
        if asked := _COMMAND.fullmatch(line):
            inode = int(asked[1])
        elif inode:
            yield inode, line
