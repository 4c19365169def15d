"""What was seen of each fault, as rows and as a table."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.cli_process import COMMAND

#: Seconds for a whole run: the first one of a machine boots it, which takes a minute with all detectors.
PATIENCE = 240


@dataclass(frozen=True)
class KernelUnderProof:
    """A kernel with its samples; options: what `kmod-harness run` needs to take it. release: as (6, 12)."""

    name: str
    release: tuple[int, int]
    options: tuple[str, ...]
    config: Mapping[str, str]
    modules: Path


def run(kernel: KernelUnderProof, *words: str | Path) -> tuple[int, dict[str, Any], str]:
    """Returns exit status, JSON object and stderr of a `kmod-harness run` on this kernel."""
    command = [*COMMAND, "run", "--json", "--no-bundle", *kernel.options, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


@dataclass(frozen=True)
class Row:
    """A fault on a kernel. kinds: what was recognised, in order. late: seconds after the deadline, if met."""

    fault: str
    when: str
    kernel: str
    expected: str
    kinds: tuple[str, ...] = ()
    outcome: str = ""
    exit_status: int | None = None
    seconds: float | None = None
    late: float | None = None


def markdown(rows: list[Row]) -> str:
    """The table, a line for each fault and kernel."""
    lines = [
        "| fault | in | kernel | recognised | outcome | exit status | seconds | after the deadline |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.exit_status is None:
            seen = f"not provoked here: needs {row.expected} | | | |"
        else:
            kinds = ", ".join(row.kinds) or "(no report)"
            seen = f"{kinds} | {row.outcome} | {row.exit_status} | {row.seconds:.1f} |"
        late = "" if row.late is None else f"{row.late:.1f} s"
        lines.append(f"| {row.fault} | {row.when} | {row.kernel} | {seen} {late} |")
    return "\n".join(lines) + "\n"
