"""A machine that cannot show what runs is refused before anything is tried on it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.explain.observe.experiment import Subject, set_up_experiment
from kmod_harness.explain.probes.execution_log import NoExecutionLog, execution_log_arguments
from kmod_harness.guest.guest import Guest
from unit.explain.sample_claims import MODULE

LOG = Path("/run/executed.log")
KERNEL = Kernel("minimal", "6.1.192-kmod-harness", Path("bzImage"))
LOGGED = ["qemu-system-x86_64", *execution_log_arguments(LOG, True)]


@pytest.mark.parametrize(("accelerator", "argv"), [("kvm", LOGGED), ("tcg", LOGGED[:1])])
def test_without_an_execution_log_nothing_is_tried(accelerator: str, argv: list[str]) -> None:
    machine = SimpleNamespace(accelerator=SimpleNamespace(name=accelerator), argv=argv)
    guest = cast(Guest, SimpleNamespace(machine=machine))
    with pytest.raises(NoExecutionLog, match="no execution log") as refused:
        set_up_experiment(guest, KERNEL, LOG, Subject(MODULE))
    assert accelerator in refused.value.evidence
