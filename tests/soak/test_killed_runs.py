"""50 runs killed by SIGKILL at random moments leave no QEMU, and the next run sweeps what they left."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.machine import rundir
from shared.killed_runs import kill_at_random, qemus

SEED = 20261122


@pytest.mark.timeout(900)
def test_50_killed_runs_leave_no_qemu(record_property: object, run_kernel: Kernel) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="soak-") as directory:
        base = Path(directory)
        with_qemu = kill_at_random(base, run_kernel.name, 50, random.Random(SEED))

        assert callable(record_property)
        record_property("killed_with_a_qemu", with_qemu)
        assert with_qemu >= 10, "too few were killed while QEMU ran for this to prove anything"
        assert qemus(base) == {}
        rundir.sweep(base)
        assert list(base.glob("kmod-harness-*")) == []
