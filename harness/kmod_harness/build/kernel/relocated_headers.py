"""Kernel headers of a package, changed to work from where they were unpacked instead of from /usr."""

from __future__ import annotations

import re
from pathlib import Path

from kmod_harness.build.kernel.kernel import Kernel

#: The source's Makefile that the headers include, and from 6.13 on (Debian's) the directory of their own.
_ABSOLUTE = re.compile(r"^(include |KBUILD_OUTPUT *:?= *)(/usr/)", re.MULTILINE)


def relocate_headers(tree: Path, kernel: Kernel) -> None:
    """Changes the absolute paths in the headers' Makefile, and the links to them beside the modules.

    tree: the directory that the packages were unpacked into
    """
    if kernel.build_dir is not None:
        makefile = kernel.build_dir / "Makefile"
        if not makefile.is_symlink():
            text = makefile.read_text()
            makefile.write_text(_ABSOLUTE.sub(rf"\1{tree}\2", text))
    for name in ("build", "source"):
        link = (kernel.modules_dir or tree) / name
        if link.is_symlink() and link.readlink().is_absolute():
            target = tree / link.readlink().relative_to("/")
            link.unlink()
            link.symlink_to(target)
