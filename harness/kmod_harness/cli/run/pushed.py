"""The files that go from the host into the guest, and the command's program, looked at before the boot."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kmod_harness.errors import Misuse, ModuleFileError
from kmod_harness.kmod.elf.programs import missing_in, program_needs

if TYPE_CHECKING:
    from kmod_harness.kmod.elf.module import KernelModule

#: Where files of the host go unless told otherwise, and the command's working directory.
DIRECTORY = "/kmod-harness/pushed"
_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_MACHINES = ("", "EM_X86_64", "EM_386")
#: A symlink that leads to another one, and so on: Linux follows at most 40 (MAXSYMLINKS).
_LINK_DEPTH = 40


@dataclass(frozen=True)
class Push:
    """A file or directory of the host and its absolute path in the guest."""

    source: Path
    target: str


def parse_push(text: str) -> Push:
    """Returns the push for `HOST[:GUEST]`, of `.` what lies in it.

    Raises Misuse: no such file, a relative GUEST.
    """
    host, _, guest = text.partition(":")
    if not Path(host).exists() and Path(text).exists():
        host, guest = text, ""
    source = Path(host)
    if not source.exists():
        raise Misuse(f"--push {text}: there is no {host} here")
    if guest and not guest.startswith("/"):
        raise Misuse(f"--push {text}: the guest's path must be absolute, not {guest!r}")
    if guest.endswith("/"):
        guest += source.resolve().name
    if guest:
        return Push(source, posixpath.normpath(guest))
    # `.` has no name of its own: what lies in it goes to where the command runs
    is_nameless = source.is_dir() and posixpath.basename(host.rstrip("/")) in (".", "..")
    return Push(source, DIRECTORY if is_nameless else f"{DIRECTORY}/{source.resolve().name}")


def resolve_command(command: Sequence[str], guest_paths: Mapping[str, str]) -> tuple[list[str], Push | None]:
    """Returns the guest's argv, and the push of its program when that is a file of the host.

    A first word with a slash is the host's when it is relative, or when only the
    host has it; a name without one is the guest's. `guest_paths` is path ->
    symlink target, {} when unknown. Raises Misuse when there is no such program.
    """
    word = command[0]
    path = Path(word)
    if "/" not in word:
        if guest_paths and not any(_is_visible(f"{directory}/{word}", guest_paths) for directory in _PATH):
            here = f"; did you mean ./{word} ?" if path.exists() else ""
            raise Misuse(
                f"the guest's image has no program {word}{here}",
                advice="a word with a slash, such as ./test.sh, is pushed from here",
            )
        return list(command), None
    is_there = not guest_paths or _is_visible(posixpath.normpath(word), guest_paths)
    if word.startswith("/") and (is_there or not path.exists()):
        return list(command), None
    if not path.is_file():
        what = "a directory" if path.is_dir() else "not there"
        raise Misuse(f"the command {word} is {what}; expected a program or script of this machine")
    push = Push(path, f"{DIRECTORY}/{path.resolve().name}")
    return [push.target, *command[1:]], push


def check_program(path: Path, guest_paths: Mapping[str, str], pushes: Sequence[Push] = ()) -> None:
    """Returns when the guest can start this program of the host.

    Raises Misuse that names the missing interpreter or libraries. Checks nothing
    but the file itself when `guest_paths` is empty, that is unknown.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Misuse(f"cannot read the program {path}: {error.strerror}") from None
    if not path.stat().st_mode & 0o111:
        raise Misuse(f"{path} is not executable", advice=f"chmod +x {path}")
    needs = program_needs(data)
    if needs.kind == "other":
        raise Misuse(
            f"{path} is neither an ELF program nor a script with #!, so no kernel executes it",
            advice="begin a script with #!/bin/sh",
        )
    if needs.machine not in _MACHINES:
        raise Misuse(f"{path} is built for another machine", evidence=f"{needs.machine}; expected EM_X86_64")
    if not guest_paths:
        return
    there = visible_paths(guest_paths) | {push.target for push in pushes}
    missing = missing_in(needs, there)
    if missing:
        raise Misuse(
            f"{path} needs what the guest's image lacks: {', '.join(missing)}",
            evidence=f"interpreter: {needs.interpreter or 'none'}\n"
            f"libraries: {', '.join(needs.libraries) or 'none'}",
            advice="use #!/bin/sh, link statically (gcc -static), or --push what is missing to its place",
        )


def visible_paths(paths: Mapping[str, str]) -> set[str]:
    """Returns every path that can be opened: dangling symlinks left out, those to directories followed.

    >>> sorted(visible_paths({"/lib": "usr/lib", "/usr/lib/a.so": "", "/b": "gone"}))
    ['/lib', '/lib/a.so', '/usr/lib/a.so']
    """
    real = {path for path, target in paths.items() if not target}
    parents = {posixpath.dirname(path) for path in real}
    visible = set(real)
    for link in (path for path, target in paths.items() if target):
        target = _resolve(link, paths)
        if target in parents or target in real:
            visible.add(link)
        if target in parents:
            visible |= {link + path[len(target) :] for path in real if path.startswith(f"{target}/")}
    return visible


def _is_visible(path: str, paths: Mapping[str, str]) -> bool:
    """True when the path can be opened: itself, or what every symlink on its way leads to, is there."""
    real = _resolve(path, paths)
    return paths.get(real) == "" or any(other.startswith(f"{real}/") for other in paths if real)


def _resolve(path: str, paths: Mapping[str, str]) -> str:
    """Returns where a path leads when every symlink on its way is followed, "" for a circle."""
    for _ in range(_LINK_DEPTH):
        link = _first_link(path, paths)
        if link is None:
            return path
        target = posixpath.join(posixpath.dirname(link), paths[link])
        path = posixpath.normpath(target + path[len(link) :])
    return ""


def _first_link(path: str, paths: Mapping[str, str]) -> str | None:
    parts = path.strip("/").split("/")
    prefixes = ("/" + "/".join(parts[:n]) for n in range(1, len(parts) + 1))
    return next((prefix for prefix in prefixes if paths.get(prefix)), None)


def bytes_below(source: Path) -> int:
    """Returns the bytes of a file, or of all regular files below a directory."""
    files = [source] if source.is_file() else source.rglob("*")
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def pushed_modules(sources: Iterable[Path], names: Collection[str]) -> list[KernelModule]:
    """Returns the modules of these names among pushed files: a command may have loaded them itself."""
    from kmod_harness.kmod.elf.split_debug import read_symbols  # lazy: for a report alone

    found: dict[str, KernelModule] = {}
    for source in sources if names else ():
        for path in [source] if source.is_file() else sorted(source.rglob("*.ko*")):
            name = path.name.partition(".ko")[0].replace("-", "_")
            if name in names and name not in found:
                with contextlib.suppress(ModuleFileError):
                    found[name] = read_symbols(path)
    return list(found.values())
