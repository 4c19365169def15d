"""A kernel that can be booted: its image and the files that belong to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted; a path is None where the kernel comes without that file.

    name: `minimal`, `debian`, `host` or a path
    release: its release
    bzimage: image
    build_dir: for `make -C build_dir M=...`
    system_map: System.map
    config: configuration
    vmlinux: vmlinux
    modules_dir: directory with `modules.order` and the kernel's own modules
    symvers: Module.symvers
    """

    name: str
    release: str
    bzimage: Path
    build_dir: Path | None = None
    system_map: Path | None = None
    config: Path | None = None
    vmlinux: Path | None = None
    modules_dir: Path | None = None
    symvers: Path | None = None


def existing(path: Path) -> Path | None:
    """Returns the path of a file or directory that is there, else None."""
    return path if path.exists() else None
