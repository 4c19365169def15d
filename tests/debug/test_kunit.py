"""A KUnit suite built as a module: each of its cases counts. On kernels with CONFIG_KUNIT."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_table import KernelUnderProof, run

from kmod_harness import Guest
from kmod_harness.klog.ktap import TestStatus

NAMES = ("sum_is_a_sum_of_all", "nothing_is_counted_without_calls", "bytes_come_with_calls")


@pytest.fixture
def proof(kernels: dict[str, KernelUnderProof]) -> KernelUnderProof:
    found = next((proof for proof in kernels.values() if proof.config.get("KUNIT") == "y"), None)
    if found is None:
        pytest.skip("no kernel with CONFIG_KUNIT was given (--kh-kconfig)")
    return found


def _modules(proof: KernelUnderProof) -> tuple[Path, Path]:
    return proof.modules / "chardev/chardev.ko", proof.modules / "chardev_kunit/chardev_kunit.ko"


def test_a_run_counts_each_case(proof: KernelUnderProof) -> None:
    status, found, _ = run(proof, *_modules(proof))
    assert (status, found["outcome"]) == (0, "passed")
    assert [(case["name"], case["status"]) for case in found["ktap"]] == [
        *((f"chardev/{name}", "passed") for name in NAMES),
        ("chardev/fails_on_request", "skipped"),
    ]


def test_a_case_that_fails_fails_the_run(proof: KernelUnderProof) -> None:
    """Although the module loads, and nothing else is wrong."""
    status, _, said = run(proof, *_modules(proof), "--param", "fail=1")
    assert status == 1
    last = said.splitlines()[-1]
    assert "failed: KUnit: chardev/fails_on_request failed" in last
    assert "KUnit: 3 passed, 1 failed" in last
    assert "fails_on_request: EXPECTATION FAILED at" in said


def test_a_test_reads_the_cases_from_the_log(proof: KernelUnderProof, guest: Guest) -> None:
    for path in _modules(proof):
        guest.load(path)
    guest.kernel_log.sync(guest.syscaller)
    cases = guest.kernel_log.ktap()
    assert [case.status for case in cases] == [*[TestStatus.PASSED] * 3, TestStatus.SKIPPED]
    assert cases[-1].reason == "fail=1 was not given"
