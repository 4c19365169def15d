"""gdb in batch mode at the guest of a `kmod-harness debug`."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Iterator, Sequence

from shared.cli_process import PATIENCE, read_until, start


@contextlib.contextmanager
def waiting_guest(*arguments: object) -> Iterator[Sequence[str]]:
    """A `kmod-harness debug` without a terminal; gives the words of the gdb command line it prints."""
    process = start("debug", *arguments)
    try:
        assert process.stdout is not None
        yield shlex.split(read_until(process.stdout, "gdb -q"))
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def gdb(command: Sequence[str], *commands: str) -> str:
    """What gdb prints in batch mode after the prepared commands."""
    more = [word for one in commands for word in ("-ex", one)]
    done = subprocess.run(
        [*command, "-batch", *more], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return done.stdout
