"""gdb at a kept guest of several CPUs: on the one where the failure is."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.cli_process import kmod_harness
from shared.gdb_process import gdb, waiting_guest


@pytest.mark.needs("gdb", "vmlinux")
@pytest.mark.parametrize("cpu", [0, 1])
def test_of_two_cpus_the_failing_one_is_chosen(faulty_ko: Path, tmp_path: Path, cpu: int) -> None:
    # given: an oops on a certain CPU, by a program that is bound to it
    bundle = tmp_path / "bundle"
    faults = ("--cpus", "2", "--param", "fault=oops", "--param", "when=write")
    bound = ("taskset", str(1 << cpu), "sh", "-c", "echo x > /dev/faulty")
    assert kmod_harness("run", faulty_ko, *faults, "--bundle", bundle, "--", *bound).returncode == 3

    with waiting_guest("--from", bundle) as command:
        told = gdb(command, "thread", "bt")

    # gdb counts from 1
    assert f"[Current thread is {cpu + 1} " in told
    assert told.index("oops_exit") < told.index("in faulty_oops") < told.index("vfs_write")
