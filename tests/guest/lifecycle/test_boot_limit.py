"""How long a boot may take follows from the configuration of the kernel that boots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness import Spec, prepare
from kmod_harness.lifecycle.prepare import start_machine
from kmod_harness.machine.deadline import BOOT_SECONDS


@pytest.mark.parametrize(
    ("config", "slow"),
    [("CONFIG_KASAN=y\nCONFIG_PROVE_LOCKING=y\n", ("KASAN", "PROVE_LOCKING")), ("CONFIG_PRINTK=y\n", ())],
)
def test_a_machine_gives_its_kernel_the_time_that_its_options_take(
    machine_spec: Spec, tmp_path: Path, config: str, slow: tuple[str, ...]
) -> None:
    prepared = prepare(machine_spec)
    (tmp_path / "config").write_text(config)
    kernel = replace(prepared.kernel, config=tmp_path / "config")

    # when: its processors need not run
    with start_machine(replace(prepared, kernel=kernel), stopped=True) as machine:
        limit = machine.boot_limit

    assert limit.slow == slow
    assert (limit.seconds > BOOT_SECONDS) is bool(slow)
