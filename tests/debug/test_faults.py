"""Each fault of `faulty` on each kernel that can see it: recognised for what it is, and never passed.

`make test-debug` runs this over minimal and kernel-config/debug.config; any other kernel by
`pytest tests/debug --kh-kernel minimal@7.2 --kh-kconfig FILE --kh-memory SIZE`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from debug.fault_table import KernelUnderProof, Row, run
from debug.faults import FAULTS, Fault, Report
from kmod_harness.klog.outcome import Outcome
from kmod_harness.releases.release import in_words

PROVOKE = Path(__file__).parent / "provoke.sh"
#: Seconds in which the verdict of a hang must come after the deadline that was missed.
AFTER_DEADLINE = 5.0


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
@pytest.mark.parametrize(
    "kernel", ["plain", pytest.param("other", marks=pytest.mark.needs("another kernel"))]
)
def test_a_fault_is_recognised(
    kernel: str, fault: Fault, kernels: dict[str, KernelUnderProof], rows: list[Row]
) -> None:
    proof = kernels[kernel]
    due = fault.report(proof.config, proof.release)
    if due is None:
        needs = " or ".join("+".join(report.needs) for report in fault.reports)
        needs += f", Linux {in_words(fault.since)} or later" if proof.release < fault.since else ""
        rows.append(Row(fault.name, fault.when, proof.name, needs))
        pytest.skip(f"{proof.name} has no detector for it: {needs}")

    status, found, _ = run(proof, *_words(fault, proof))

    kinds = tuple(dict.fromkeys(splat["kind"] for splat in found["splats"]))
    late = _after_deadline(found, fault.timeout) if due.verdict is Outcome.HANG else None
    rows.append(
        Row(
            fault.name,
            fault.when,
            proof.name,
            " or ".join(due.kinds),
            kinds,
            found["outcome"],
            status,
            found["timings"]["total"],
            late,
        )
    )
    _check(due, kinds, found, status)
    assert late is None or late <= AFTER_DEADLINE


def _check(due: Report, kinds: tuple[str, ...], found: dict[str, Any], status: int) -> None:
    assert (found["outcome"], status) == (due.verdict.value, due.verdict.exit_status), found["reason"]
    titles = [splat["title"] for splat in found["splats"]]
    if due.kind is None:
        assert kinds == (), titles
    else:
        # what follows from a fault may be more; what the kernel says first is what it was
        assert kinds and kinds[0] in due.kinds, titles
        assert "faulty_" in found["splats"][0]["text"], "it is about this module"
        assert due.function in ("", found["splats"][0]["function"]), titles


def _words(fault: Fault, proof: KernelUnderProof) -> list[str | Path]:
    module = proof.modules / "faulty/faulty.ko"
    if not module.is_file():
        pytest.fail(f"{module} is not there: run `make test-debug`", pytrace=False)
    return [
        *("--cpus", str(fault.cpus), "--timeout", str(fault.timeout), module),
        *(("--settle", str(fault.settle)) if fault.settle else ()),
        *(f"--append={word}" for word in fault.command_line(proof.release)),
        *("--param", f"fault={fault.name}", "--param", f"when={fault.when}"),
        *("--", PROVOKE, str(fault.late), *(["impatient"] if fault.impatient else [])),
    ]


def _after_deadline(found: dict[str, Any], timeout: float) -> float | None:
    """Seconds from the deadline that was missed to the verdict; None when none was missed."""
    timings = found["timings"]
    stage = next((name for name in ("unload", "command", "load") if timings[name] is not None), "load")
    if (timings[stage] or 0) < timeout:
        return None
    before = sum(timings[name] or 0 for name in ("prepare", "boot", "push", "load", "command"))
    return float(timings["total"] - (before - (timings[stage] or 0)) - timeout)


def test_a_clean_module_is_clean_on_every_kernel(kernels: dict[str, KernelUnderProof]) -> None:
    """Else the table above would only show that everything is a fault there."""
    for proof in kernels.values():
        status, found, said = run(proof, proof.modules / "chardev/chardev.ko", "--", "true")
        assert (status, found["splats"]) == (0, []), said
