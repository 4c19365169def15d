"""A KUnit suite built as a module: each of its cases counts. On kernels with CONFIG_KUNIT."""

from __future__ import annotations

from pathlib import Path

import pytest

from debug.fault_table import KernelUnderProof, run
from kmod_harness import Guest
from kmod_harness.klog.ktap import TestStatus
from shared.cli_process import unwrapped

#: In their order; the last but one has nothing to look at where nobody opened the device before.
NAMES = (
    "sum_is_a_sum_of_all",
    "nothing_is_counted_without_calls",
    "bytes_come_with_calls",
    "begins_with_nothing_opened",
)
STATUSES = (TestStatus.PASSED, TestStatus.PASSED, TestStatus.SKIPPED, TestStatus.PASSED)


pytestmark = pytest.mark.needs("KUnit")


@pytest.fixture
def proof(kernels: dict[str, KernelUnderProof]) -> KernelUnderProof:
    return next(proof for proof in kernels.values() if proof.config.get("KUNIT") == "y")


def _modules(proof: KernelUnderProof) -> tuple[Path, Path]:
    return proof.modules / "chardev/chardev.ko", proof.modules / "chardev_kunit/chardev_kunit.ko"


def test_a_run_counts_each_case(proof: KernelUnderProof) -> None:
    status, found, _ = run(proof, *_modules(proof))
    assert (status, found["outcome"]) == (0, "passed")
    assert [(case["name"], case["status"]) for case in found["ktap"]] == [
        (f"chardev/{name}", status.value) for name, status in zip(NAMES, STATUSES, strict=True)
    ]


def test_a_case_that_fails_fails_the_run(proof: KernelUnderProof) -> None:
    """Although the module loads, and nothing else is wrong."""
    chardev, suite = _modules(proof)
    command = "echo x >/dev/chardev0; insmod chardev_kunit.ko; rmmod chardev_kunit"

    status, _, said = run(proof, "--push", suite, chardev, "--", "sh", "-c", command)

    assert status == 1
    told = unwrapped(said)
    assert "KUnit: chardev/begins_with_nothing_opened failed kmod-harness: failed:" in told
    assert "KUnit: 3 passed, 1 failed" in told
    assert "begins_with_nothing_opened: EXPECTATION FAILED at" in said


def test_a_test_reads_the_cases_from_the_log(proof: KernelUnderProof, guest: Guest) -> None:
    for path in _modules(proof):
        guest.load(path)
    guest.kernel_log.sync(guest.syscaller)
    cases = guest.kernel_log.ktap()
    assert [case.status for case in cases] == list(STATUSES)
    assert cases[2].reason == "nobody has opened it yet"
