"""The code that ran in the module range, by QEMU's own execution log, without the guest's help."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

from kmod_harness.errors import Misuse
from kmod_harness.explain.observed.observations import ExecutedBlock, ExecutedCode
from kmod_harness.kmod.addresses import MODULES_BASE_FIXED, MODULES_BASE_RANDOMIZED, MODULES_END
from kmod_harness.machine.machine import Machine

#: `Trace CPU: host address [cs_base/pc/flags/cflags] symbol` (QEMU 7.2, accel/tcg/cpu-exec.c: log_cpu_exec).
_LINE = re.compile(r"Trace (\d+): 0x[0-9a-f]+ \[[0-9a-f]+/([0-9a-f]+)/([0-9a-f]+)/[0-9a-f]+\]")
#: A translated block's lowest flags are the privilege level (QEMU 7.2, target/i386/cpu.h, HF_CPL_MASK).
_CPL_MASK = 3


class NoExecutionLog(Misuse):
    """The machine was not started with an execution log: without the arguments, or not emulated."""


def execution_log_arguments(path: Path, randomize_base: bool | None) -> tuple[str, ...]:
    """Returns the arguments that QEMU needs for an `ExecutionLog` at `path`; unused, it costs nothing.

    Only software emulation logs code that runs, and file and filter have to be given at the start.
    `randomize_base` is as in `RunningKernel`; None, unknown, counts as True: in the wider range, the log of a
    moved kernel image would hide the module's.
    """
    base = MODULES_BASE_FIXED if randomize_base is False else MODULES_BASE_RANDOMIZED
    return ("-D", str(path), "-dfilter", f"{base:#x}..{MODULES_END - 1:#x}")


class ExecutionLog:
    """The log of a machine that was started with `execution_log_arguments`."""

    def __init__(self, machine: Machine, path: Path) -> None:
        self._machine = machine
        self._path = path

    @contextlib.contextmanager
    def recording(self, what: str) -> Iterator[list[ExecutedCode]]:
        """Logs while the block runs, which slows the guest 5 times; the list then holds the `ExecutedCode`.

        It holds all code that ran in the module range: `named` selects one module's.
        """
        done: list[ExecutedCode] = []
        at = self._size()
        started = time.monotonic()
        # nochain: otherwise a block jumps to the next one without being logged
        self._machine.monitor("log exec,nochain")
        try:
            yield done
        finally:
            if not self._machine.watch.has_ended:
                self._machine.monitor("log none")
        seconds = time.monotonic() - started
        with self._path.open("rb") as file:
            file.seek(at)
            text = file.read().decode(errors="replace")
        done.append(ExecutedCode(what, seconds, parse_execution_log(text)))

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


def parse_execution_log(text: str) -> tuple[ExecutedBlock, ...]:
    """Returns the blocks that ran, in order, without a last line that is cut short."""
    return tuple(
        ExecutedBlock(int(match[2], 16), int(match[3], 16) & _CPL_MASK, int(match[1]))
        for match in _LINE.finditer(text)
    )
