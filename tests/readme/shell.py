"""A person's shell in a directory: no environment of these tests reaches it, each command is as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from readme.plan import ENDED, Typed

#: Seconds no command comes near, the compile of a kernel apart, which `make readme` has made before.
PATIENCE = 600
_OF_A_LOGIN = {"HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER"}
_REACHING = re.compile(r"PIP_|SSL_|XDG_CACHE_HOME|(?:https?|no)_proxy$", re.IGNORECASE)


@dataclass(frozen=True)
class Shell:
    """first: what is typed before anything else. replaced: words of the README -> what they stand for."""

    directory: Path
    first: str = ""
    replaced: Mapping[str, str] = field(default_factory=dict)

    def run(self, command: str, on_stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Types a command; its stderr comes in its stdout, as on a terminal."""
        return subprocess.run(
            ["bash", "-c", self.script(command)],
            cwd=self.directory,
            env=_environment(),
            input=on_stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def must(self, command: str, status: int = 0) -> str:
        """Types what others stand on; returns what it said."""
        done = self.run(command)
        assert done.returncode == status, f"{command}\n{done.stdout}"
        return done.stdout

    @contextmanager
    def started(self, command: str) -> Iterator[subprocess.Popen[str]]:
        """A command that waits for something; ended at the end, if it has not."""
        with subprocess.Popen(
            ["bash", "-c", self.script(command, replace_shell=True)],
            cwd=self.directory,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.terminate()

    def script(self, command: str, *, replace_shell: bool = False) -> str:
        for word, meant in self.replaced.items():
            command = command.replace(word, meant)
        return "\n".join(filter(None, (self.first, f"exec {command}" if replace_shell else command)))


def try_command(shell: Shell, typed: Typed) -> None:
    """Types one and looks at what comes."""
    for command in typed.before:
        shell.must(command)
    if typed.gdb is not None:
        _try_with_gdb(shell, typed, *typed.gdb)
        return
    done = shell.run(typed.command, typed.on_stdin)
    assert done.returncode == typed.status, done.stdout
    assert typed.says in done.stdout
    assert "Traceback (most recent" not in done.stdout


def _try_with_gdb(shell: Shell, typed: Typed, asked: str, answer: str) -> None:
    """Types gdb's command line where the command prints it, then Enter; what waits for ever is ended."""
    with shell.started(typed.command) as process:
        assert process.stdout is not None and process.stdin is not None
        said = ""
        for line in process.stdout:
            said += line
            if line.lstrip().startswith("gdb -q -x "):
                break
        else:
            raise AssertionError(f"it printed no command line of gdb's: {said}")
        told = shell.must(f"{line.strip()} -batch -ex '{asked}'")
        assert answer in told, told
        if typed.status == ENDED:
            process.terminate()
        rest, _ = process.communicate("\n", timeout=PATIENCE)
        assert process.returncode == typed.status, said + rest


def _environment() -> dict[str, str]:
    """What a login would set, and how packages are reached; nothing of make, pytest or this Python."""
    kept = {name: value for name, value in os.environ.items() if name in _OF_A_LOGIN or _REACHING.match(name)}
    own = str(Path(sys.executable).parent)
    return {**kept, "PATH": ":".join(part for part in kept["PATH"].split(":") if part != own)}
