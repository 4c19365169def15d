"""A harness killed by SIGKILL takes its QEMU along; the long form is in tests/soak."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.machine import rundir
from shared.killed_runs import await_death, kill_at_random, qemus, start_run


def test_5_killed_runs_leave_no_qemu_and_the_next_run_sweeps(run_kernel: Kernel) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="kill-") as directory:
        base = Path(directory)
        kill_at_random(base, run_kernel.name, 5, random.Random(7), longest=1.5)
        assert qemus(base) == {}

        with start_run(base, run_kernel.name) as run:
            try:
                assert run.stdout is not None
                assert run.stdout.readline() == b"booted\n"
                assert len(qemus(base)) == 1
                assert len(list(base.glob("kmod-harness-*"))) == 1, "its own; the others' are swept"
            finally:
                run.kill()
        assert await_death(base) == {}
        assert rundir.sweep(base) == 1
        assert list(base.glob("*kmod-harness-*")) == []
