"""What a failed run leaves: a bundle that tells, reproduces and can be opened; and what a hang says."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from kmod_harness import Spec
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.errors import GuestHang
from kmod_harness.lifecycle.boot import boot
from kmod_harness.lifecycle.prepare import prepare
from kmod_harness.machine.interrogation import interrogate
from shared.cli_process import PATIENCE, kmod_harness, unwrapped
from shared.schemas import require_schema


def run_faulty(faulty_ko: Path, bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return kmod_harness("run", faulty_ko, "--bundle", bundle, *arguments)


def test_a_splat_is_told_with_its_source_and_can_be_reproduced(faulty_ko: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    done = run_faulty(faulty_ko, bundle, "--param", "fault=warn")

    assert done.returncode == 3
    assert re.search(r"RIP: .*faulty_warn\+.*\s+at .*\.c:\d+", done.stderr)
    assert f"evidence: {bundle}" in unwrapped(done.stderr)
    verdict = json.loads((bundle / "verdict.json").read_text())
    require_schema(verdict, "run")
    assert (verdict["outcome"], verdict["exit_status"]) == ("splat", 3)
    assert re.search(r"faulty_warn\+.* at .*\.c:\d+", (bundle / "kernel.symbolized.log").read_text())
    assert (bundle / "modules" / "faulty.ko").read_bytes() == faulty_ko.read_bytes()
    assert not (bundle / "memory.elf.zst").exists() and not (bundle / "state.zst").exists()

    again = subprocess.run(
        [bundle / "reproduce.sh"], cwd="/", capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert again.returncode == 3
    assert "faulty_warn" in again.stderr
    # and: its evidence has a place of its own
    assert json.loads((bundle / "verdict.json").read_text()) == verdict
    assert json.loads((bundle / "again" / "verdict.json").read_text())["reason"] == verdict["reason"]

    refused = kmod_harness("crash", bundle)
    assert refused.returncode == 2 and "holds no memory dump" in unwrapped(refused.stderr)


def test_a_panics_memory_shows_the_stack_with_variables_and_the_modules_own(
    run_kernel: Kernel, faulty_ko: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    assert run_faulty(faulty_ko, bundle, "--param", "fault=panic").returncode == 4
    if run_kernel.vmlinux is None:
        # nobody could read it
        assert not (bundle / "memory.elf.zst").exists()
        return
    # a 256 MiB guest uses 40 MiB after its boot
    assert 1 << 20 < (bundle / "memory.elf.zst").stat().st_size < 24 << 20

    told = kmod_harness("crash", bundle)

    assert told.returncode == 0, told.stderr
    # what a reader came for stands first
    assert told.stdout.startswith("panic: kernel panic: faulty: a panic was asked for\n")
    headings = [line.partition(" of ")[0] for line in told.stdout.splitlines()[1:] if line[:1].strip()]
    assert headings == ["Stack", "Globals", "Tasks"]
    # the way into the panic, through the module's init, whose memory the kernel still has
    stack = told.stdout.partition("Stack of")[2]
    assert stack.index(" panic ") < stack.index("faulty_panic") < stack.index("faulty_init")
    assert stack.index("faulty_init") < stack.index("do_init_module")
    assert 'buf = (char [1024])"faulty: a panic was asked for"' in stack
    assert "fault = (char *)" in stack and '"panic"' in stack.partition("Globals of faulty")[2]


def test_a_hanging_run_is_asked_why(faulty_ko: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    done = run_faulty(faulty_ko, bundle, "--param", "fault=block", "--timeout", "2")

    assert done.returncode == 5
    assert "faulty_block+" in (bundle / "interrogation.txt").read_text()
    assert "state:D" in done.stderr


def test_what_a_guest_says_when_asked_is_no_splat(machine_spec: Spec, faulty_ko: Path) -> None:
    # given: a processor that loops in the module, with preemption off; a guest that nobody judges
    with boot(prepare(machine_spec), cold=False) as guest:
        with pytest.raises(GuestHang):
            guest.load(faulty_ko, fault="hang", timeout=1)
        mark = guest.kernel_log.mark()

        told = interrogate(guest.machine)

        # then: both sides see it, and the kernel's answer to sysrq is not taken for a report of its own
        assert "faulty_hang+" in told.answer
        assert told.cpus[0].registers.cpl == 0
        assert guest.kernel_log.splats_since(mark) == ()


@pytest.mark.parametrize("path", ["", "verdict.json"])
def test_what_is_no_bundle_is_named(tmp_path: Path, path: str) -> None:
    done = kmod_harness("crash", tmp_path / path)
    assert done.returncode == 2
    assert "is not a bundle" in unwrapped(done.stderr)
