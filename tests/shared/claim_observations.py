"""Every experiment on a module, run once on one cold-booted machine with QEMU's execution log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kmod_harness.explain.observe.experiment import Subject
from kmod_harness.explain.observe.observe import observe
from kmod_harness.explain.observe.running_kernel import randomize_base
from kmod_harness.explain.observed.observations import Observations
from kmod_harness.explain.probes.execution_log import execution_log_arguments
from kmod_harness.lifecycle.boot import boot
from kmod_harness.lifecycle.prepare import Prepared, prepare
from kmod_harness.releases import facts
from kmod_harness.releases.release import release_pair

#: What each claim is worth on Linux 6.1 with RANDOMIZE_BASE; `nokaslr` and a later release change one each.
VERDICTS = {
    "relocatable-executable": "imprecise",
    "top-2-gib": "true",
    "around-80000000": "imprecise",
    "anywhere-physical": "true",
    "part-of-the-kernel": "true",
    "one-block": "imprecise",
    "insmod-calls-init": "imprecise",
    "as-root": "imprecise",
    "nothing-runs-until-open": "imprecise",  # init runs before
    "open-is-a-syscall": "true",
    "dynamically-linked": "imprecise",
    "system-map": "false",
    "documented-range": "outdated",
    "another-address": "true",
    "callers-stack": "false",
    "rmmod-removes": "imprecise",
    "swappable": "false",
    "own-copy": "false",
    "private-names": "false",
    "built-for-this-kernel": "imprecise",
    "taints-the-kernel": "true",
}


def expected_verdict(key: str, seen: Observations) -> str:
    """What the claim is worth on the machine that was observed."""
    if key == "another-address" and seen.machine.nokaslr:
        return "false"
    return usual_verdict(key, seen)


def usual_verdict(key: str, seen: Observations) -> str:
    """What the claim is worth with KASLR on this release."""
    if key == "one-block" and facts.MEMORY_TYPES.holds(release_pair(seen.machine.release)):
        return "outdated"
    # with symbol versions the release is not compared
    if key == "built-for-this-kernel" and "modversions" in seen.module.vermagic.split():
        return "false"
    return VERDICTS[key]


def watched(prepared: Prepared, directory: Path) -> tuple[Prepared, Path]:
    """The same machine under emulation, with the execution log, which goes to a file in `directory`."""
    log = directory / "execution.log"
    arguments = execution_log_arguments(log, randomize_base(prepared.kernel))
    qemu_args = (*prepared.spec.qemu_args, *arguments)
    return prepare(replace(prepared.spec, accelerator="tcg", qemu_args=qemu_args)), log


def observed(prepared: Prepared, subject: Subject, directory: Path) -> Observations:
    """What the experiments measure on this machine. Fails when the kernel reports trouble."""
    prepared, log = watched(prepared, directory)
    with boot(prepared) as guest:
        seen = observe(guest, prepared.kernel, log, subject)
        assert guest.judge(0) == ()
    return seen
