"""Debug information that was split from a module (objcopy --only-keep-debug), found by build-id.

Distributions ship it in packages of its own: /usr/lib/debug/lib/modules/RELEASE/kernel/..., with the name of
the module (Debian) or with .debug behind it (Fedora), and /usr/lib/debug/.build-id/12/345.debug.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kmod_harness.errors import ModuleFileError
from kmod_harness.kmod.elf.build_id import parse_build_id
from kmod_harness.kmod.elf.ko_file import module_bytes
from kmod_harness.kmod.elf.module import KernelModule, parse_module, read_section

_DEBUG = Path("usr/lib/debug")


def debug_file_of(module: KernelModule) -> Path | None:
    """Returns the file with the module's debug information, None where it has its own or none is found."""
    if module.has_debug_info or not module.build_id:
        return None
    return next((path for path in _places(module) if _is_of(path, module.build_id)), None)


def read_symbols(path: str | Path) -> KernelModule:
    """Returns the content of a .ko, or of a file with the symbols and debug information of one alone.

    Raises ModuleFileError, as read_module does.
    """
    path = Path(path)
    return parse_module(module_bytes(path), path, is_split_debug=True)


def has_lines(module: KernelModule) -> bool:
    """Whether debug information of the module is there, in its file or in one of its own."""
    return module.has_debug_info or debug_file_of(module) is not None


def _places(module: KernelModule) -> Iterator[Path]:
    """Yields where the file may lie: beside the module, in the tree that it lies in, on this machine."""
    path = module.path.absolute()
    name = f"{path.name.partition('.ko')[0]}.ko"
    for beside in (path.parent, path.parent / ".debug"):
        yield beside / f"{name}.debug"
    root, found, inside = str(path.parent).partition("/lib/modules/")
    for base in dict.fromkeys((Path(root.removesuffix("/usr") or "/"), Path("/"))):
        if found:
            for file in (name, f"{name}.debug"):
                yield base / _DEBUG / "lib/modules" / inside / file
        yield base / _DEBUG / ".build-id" / module.build_id[:2] / f"{module.build_id[2:]}.debug"


def _is_of(path: Path, build_id: str) -> bool:
    try:
        return path.is_file() and parse_build_id(read_section(path, ".note.gnu.build-id")) == build_id
    except (ModuleFileError, OSError):
        return False
