"""The needs of a program: interpreter, command and libraries in the root file system it is copied into."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from kmod_harness.errors import Misuse

#: The kernel reads this much of a script to find its interpreter (BINPRM_BUF_SIZE, binfmts.h, 6.1).
SCRIPT_HEAD_BYTES = 256
#: Where ld.so looks without further configuration on Debian and on Buildroot's glibc and musl.
_LIBRARY_DIRECTORIES = (
    "/lib",
    "/usr/lib",
    "/lib64",
    "/usr/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/local/lib",
)
_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class ProgramFileError(Misuse):
    """The file looks like a program but cannot be read as one."""


@dataclass(frozen=True)
class ProgramNeeds:
    """The needs of a program.

    kind: `static` or `dynamic` (ELF), `script` (`#!`), `other` (neither: a shell would read it)
    interpreter: absolute path after `#!` or in PT_INTERP, "" when none
    command: command that `#!/usr/bin/env` looks for in PATH, "" otherwise
    libraries: DT_NEEDED, in order
    search: directories of DT_RUNPATH or DT_RPATH
    machine: pyelftools' name (`EM_X86_64`), "" for scripts
    """

    kind: str
    interpreter: str = ""
    command: str = ""
    libraries: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    machine: str = ""


def program_needs(data: bytes) -> ProgramNeeds:
    """Returns a program's needs, by its first line or its ELF headers.

    Raises ProgramFileError for a damaged ELF file.
    """
    if data.startswith(b"#!"):
        return _script_needs(data)
    if not data.startswith(b"\x7fELF"):
        return ProgramNeeds("other")
    try:
        return _elf_needs(data)
    except (Exception, RecursionError) as error:  # pyelftools raises many kinds on damaged input
        raise ProgramFileError(
            "the program is a damaged ELF file", evidence=f"{type(error).__name__}: {error}"
        ) from error


def missing_in(needs: ProgramNeeds, guest_paths: Collection[str]) -> tuple[str, ...]:
    """Returns those of a program's needs that the guest lacks.

    `guest_paths` are the absolute paths of the guest's files. /bin, /sbin and /lib* are taken for the
    directories of the same name under /usr, as on a merged system.
    """
    there = {_merged(path) for path in guest_paths}
    missing = []
    if needs.interpreter and _merged(needs.interpreter) not in there:
        missing.append(needs.interpreter)
    if needs.command and not any(_merged(f"{directory}/{needs.command}") in there for directory in _PATH):
        missing.append(needs.command)
    for library in needs.libraries:
        directories = (*needs.search, *_LIBRARY_DIRECTORIES)
        places = [library] if "/" in library else [f"{directory}/{library}" for directory in directories]
        if not any(_merged(place) in there for place in places):
            missing.append(library)
    return tuple(missing)


def _merged(path: str) -> str:
    path = posixpath.normpath("/" + path.lstrip("/"))
    top = path.split("/", 2)[1]
    return path if top not in ("bin", "sbin", "lib", "lib64") else "/usr" + path


def _script_needs(data: bytes) -> ProgramNeeds:
    """Reads the first line as `load_script` does (fs/binfmt_script.c, 6.1).

    The interpreter ends at a space or tab, not at a CR.
    """
    line = data[2:SCRIPT_HEAD_BYTES].split(b"\n", 1)[0].decode("utf-8", "replace")
    words = line.strip(" \t").replace("\t", " ").split(" ", 1)
    interpreter = words[0]
    command = ""
    if posixpath.basename(interpreter) == "env" and len(words) == 2:
        arguments = words[1].removeprefix("-S").split()
        command = next((w for w in arguments if not w.startswith("-") and "=" not in w), "")
    return ProgramNeeds("script", interpreter=interpreter, command=command)


def _elf_needs(data: bytes) -> ProgramNeeds:
    from elftools.elf.elffile import ELFFile  # lazy

    elf = ELFFile(io.BytesIO(data))
    interpreter = ""
    libraries: list[str] = []
    search: list[str] = []
    for segment in elf.iter_segments():
        kind = segment.header["p_type"]
        if kind == "PT_INTERP":
            interpreter = str(segment.get_interp_name())  # type: ignore[no-untyped-call, attr-defined, unused-ignore]
        elif kind == "PT_DYNAMIC":
            dynamic: Any = segment
            for tag in dynamic.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED":
                    libraries.append(str(tag.needed))
                elif tag.entry.d_tag in ("DT_RUNPATH", "DT_RPATH"):
                    path = tag.runpath if tag.entry.d_tag == "DT_RUNPATH" else tag.rpath
                    search += [d for d in str(path).split(":") if d.startswith("/")]
    return ProgramNeeds(
        "dynamic" if interpreter or libraries else "static",
        interpreter=interpreter,
        libraries=tuple(libraries),
        search=tuple(search),
        machine=str(elf.header["e_machine"]),
    )
