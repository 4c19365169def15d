"""Runs of the kernel's build system: log kept, progress shown, first error found."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from kmod_harness.errors import BuildFailed, MissingTool, Misuse

#: kbuild's short form of a compiled, assembled or linked object: "  CC      fs/open.o".
_OBJECT = re.compile(r"\s+(?:CC|AS|LD)\s")
_COMPILED = re.compile(r"\s+(?:CC|AS)\s")
_ERROR = re.compile(
    r"(?<![-\w])(?:fatal )?error:|undefined reference to|multiple definition of"
    r"|No rule to make target|\*\*\* |^ERROR:|: not found$|command not found"
)
#: Variables of an outer make, and those that kbuild reads (Documentation/kbuild/kbuild.rst).
_IMPOSED = re.compile(
    r"MAKEFLAGS|MFLAGS|MAKELEVEL|MAKEOVERRIDES|ARCH|SRCARCH|CROSS_COMPILE|LLVM|LLVM_IAS|[CMOVW]|LOCALVERSION"
    r"|KCFLAGS|KAFLAGS|KCPPFLAGS|KBUILD_.*|KCONFIG_.*|INSTALL_MOD_.*"
)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass
class Progress:
    """Shows the progress of a build on a stream: a line redrawn on a terminal, else one now and then.

    expected: number of CC, AS and LD lines of the whole build, 0 when unknown
    stream: stream to write to
    objects: number of such lines so far
    """

    expected: int = 0
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    objects: int = 0
    _last_said: float = field(default_factory=time.monotonic)
    _last_objects: int = 0

    def line(self, text: str) -> None:
        """Takes in the next line of the build's output."""
        if not _OBJECT.match(text):
            return
        self.objects += 1
        now = time.monotonic()
        if self.stream.isatty():
            if now - self._last_said >= 0.1:
                width = shutil.get_terminal_size().columns - 1
                self._say(f"\r\x1b[K{f'  {self._count()} {text.strip()}'[:width]}", now)
        elif now - self._last_said >= 10 or self.objects - self._last_objects >= 100:
            self._say(f"  {self._count()} objects\n", now)

    def end(self) -> None:
        """Clears the line on the terminal."""
        if self.stream.isatty():
            self._say("\r\x1b[K", time.monotonic())

    def _count(self) -> str:
        return f"{self.objects}/{max(self.expected, self.objects)}" if self.expected else str(self.objects)

    def _say(self, text: str, now: float) -> None:
        self._last_said, self._last_objects = now, self.objects
        self.stream.write(text)
        self.stream.flush()


def refuse_odd_path(path: Path, *, advice: str) -> None:
    """Raises Misuse for a path that kbuild cannot build in (Linux Makefile: no spaces, no colons)."""
    if any(character.isspace() or character == ":" for character in str(path)):
        raise Misuse(f"kbuild cannot build in a path with spaces or colons: {path}", advice=advice)


def run_make(
    arguments: Sequence[str],
    *,
    log: Path,
    what: str,
    environment: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> int:
    """Runs make, adds its output to `log`, and returns the number of objects it compiled (CC and AS lines).

    Raises BuildFailed with the first error and the path of the log; MissingTool when there is no make.
    """
    return run_build(["make", *arguments], log=log, what=what, environment=environment, progress=progress)


def run_build(
    command: Sequence[str],
    *,
    log: Path,
    what: str,
    environment: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    directory: Path | None = None,
) -> int:
    """Runs make, or a command that calls it, in `directory`, as `run_make` does."""
    compiled = 0
    with log.open("ab") as file:
        start = file.tell()
        file.write(os.fsencode(f"$ {' '.join(command)}\n"))
        file.flush()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**_clean_environment(), **(environment or {})},
                preexec_fn=_end_with_parent,
                # a process group of its own: make does not end what its children's shells have started
                process_group=0,
                cwd=directory,
            )
        except FileNotFoundError:
            if directory is not None and not directory.is_dir():
                raise
            raise MissingTool(
                f"{command[0]} is not installed",
                advice="as root: apt-get install --no-install-recommends make gcc",
            ) from None
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                text = line.decode(errors="replace").rstrip("\n")
                compiled += bool(_COMPILED.match(text))
                if progress is not None:
                    progress.line(text)
            status = process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
        finally:
            process.stdout.close()
            if progress is not None:
                progress.end()
    if status != 0:
        output = log.read_bytes()[start:].decode(errors="replace")
        raise BuildFailed(
            f"{what} failed: {command[0]} ended with status {status}",
            evidence=first_error(output),
            advice=f"the whole log: {log}",
        )
    return compiled


def first_error(output: str, *, before: int = 2, after: int = 6) -> str:
    """Returns the first error in a build's output with a few lines around it, else its last lines."""
    lines = output.splitlines()
    for number, line in enumerate(lines):
        if _ERROR.search(line):
            return "\n".join(lines[max(0, number - before) : number + after + 1])
    return "\n".join(lines[-(before + after + 1) :])


def jobs() -> str:
    """Returns make's option for one job for each processor that this process may use."""
    return f"-j{len(os.sched_getaffinity(0))}"


def _clean_environment() -> dict[str, str]:
    """Returns the environment without variables that would change a build but not its cache key."""
    kept = {name: value for name, value in os.environ.items() if not _IMPOSED.fullmatch(name)}
    # errors are recognised by their English messages
    return {**kept, "LC_ALL": "C"}


def _end_with_parent() -> None:
    """Has make end when this process is killed; it would go on in a directory that is being discarded."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
