"""A kernel that is newer than all that were proven is told as such by the commands that show or judge it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from kmod_harness.build.cache import Cache
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.cli.verify.record import VerifyRecord
from kmod_harness.cli.verify.show import troubles
from kmod_harness.lifecycle.prepare import Prepared
from kmod_harness.releases.facts import PROVEN
from kmod_harness.releases.release import in_words
from shared.cli_process import unwrapped
from unit.build.kernel.kernel_files import put_kernel

NEWEST = in_words(max(PROVEN))
TOLD = f"Linux 99.1 is newer than {NEWEST}, the newest release that was proven; assumed as there: "


def said_by(command: list[str], home: Path) -> str:
    """Output and errors of a command on a machine without a cache."""
    done = subprocess.run(
        [sys.executable, "-m", "kmod_harness.cli.main", *command],
        env={**os.environ, "XDG_CACHE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return unwrapped(done.stdout + done.stderr)


@pytest.mark.parametrize("command", [["kernel", "list"], ["doctor", "run"]], ids=" ".join)
@pytest.mark.parametrize(("release", "times"), [("99.1.7-mine", 1), ("6.12.7-mine", 0)])
def test_a_kernel_in_the_cache_is_told_once(
    command: list[str], release: str, times: int, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "kmod-harness")
    put_kernel(cache, "one", release)
    put_kernel(cache, "two", release)

    said = said_by(command, tmp_path)

    assert release in said
    assert said.count(TOLD) == said.count("newer than") == times


@dataclass(frozen=True)
class WithKernel:
    """As much of what is prepared as is shown."""

    kernel: Kernel


@pytest.mark.parametrize(("release", "told"), [("99.1.7", True), (f"{NEWEST}.13", False)])
def test_a_verification_says_so_beside_its_result(release: str, told: bool) -> None:
    prepared = WithKernel(Kernel("mine", release, Path("bzImage")))
    lines = troubles(VerifyRecord(prepared=cast("Prepared", prepared)))
    assert (TOLD in unwrapped("\n".join(lines))) is told
