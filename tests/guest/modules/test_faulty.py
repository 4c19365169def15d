"""What each fault of `faulty` shows that ends neither its process nor the guest; the others: test_cli_run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from debug.faults import FAULTS
from kmod_harness import Guest
from kmod_harness.checks.unloading import check_unloaded, device_nodes
from kmod_harness.cli.main import main
from kmod_harness.errors import CheckFailed, ModuleLoadError, ProcessKilled
from kmod_harness.pytest_plugin.testbed import Testbed, prepare_testbed
from kmod_harness.releases.release import release_pair


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(fault, kind, marks=pytest.mark.expect_splat(kind))
        for fault, kind in (
            ("atomic_sleep", "ATOMIC_SLEEP"),
            ("warn", "WARNING"),
            ("bug", "BUG"),
            ("oops", "OOPS"),
            ("gp_fault", "OOPS"),
            ("refcount", "WARNING"),
        )
    ],
)
def test_a_fault_in_write_is_recognised(guest: Guest, faulty_ko: Path, fault: str, kind: str) -> None:
    mark = guest.kernel_log.mark()
    module = guest.load(faulty_ko, fault=fault, when="write")
    assert guest.judge(mark) == (), "a fault for write leaves init clean"
    killed = pytest.raises(ProcessKilled) if kind in ("BUG", "OOPS") else contextlib.nullcontext()
    with killed:
        guest.process().open("/dev/faulty", os.O_WRONLY).write(b"x")
    splats = guest.judge(mark)
    assert kind in [splat.kind for splat in splats]
    assert any(f"faulty_{fault}" in splat.text for splat in splats)
    assert module.state == "Live"


@pytest.fixture
def page_checking_guest(machine: Testbed, request: pytest.FixtureRequest) -> Iterator[Guest]:
    """A guest that looks at freed pages: with the word that faults.txt says its release needs for that."""
    fault = next(fault for fault in FAULTS if fault.name == "bad_page")
    words = fault.command_line(release_pair(machine.prepared.kernel.release))
    if not words:
        yield request.getfixturevalue("guest")
        return
    spec = machine.prepared.spec
    checking = replace(spec, append=(*spec.append, *words))
    with prepare_testbed(checking, machine.settings, machine.state) as own, own.guest(cold=True) as guest:
        yield guest


@pytest.mark.expect_splat("BAD_PAGE")
def test_a_page_freed_with_a_mapping_is_recognised(page_checking_guest: Guest, faulty_ko: Path) -> None:
    guest = page_checking_guest
    mark = guest.kernel_log.mark()
    module = guest.load(faulty_ko, fault="bad_page", when="write")
    assert guest.judge(mark) == (), "a fault for write leaves init clean"
    guest.process().open("/dev/faulty", os.O_WRONLY).write(b"x")
    splats = guest.judge(mark)
    assert "BAD_PAGE" in [splat.kind for splat in splats]
    assert any("faulty_bad_page" in splat.text for splat in splats)
    assert module.state == "Live"


def test_a_thread_runs_although_nobody_opened_anything(guest: Guest, faulty_ko: Path) -> None:
    with guest.load(faulty_ko, fault="kthread"):
        said = guest.kernel_log.await_text("faulty: tick")
        assert "faulty_kthread" in said.text
    assert "faulty_kthread" not in guest.run(["ps"]).text


@pytest.mark.leaves_behind
@pytest.mark.expect_splat("OTHER:sysfs: cannot create duplicate filename*")
def test_an_exit_that_forgets_its_device_is_found_out(guest: Guest, faulty_ko: Path) -> None:
    guest.load(faulty_ko, fault="leak_device").unload()
    with pytest.raises(CheckFailed, match="left something behind") as failed:
        check_unloaded(guest, "faulty", ["/dev/faulty"])
    assert "/dev/faulty exists" in failed.value.evidence
    with pytest.raises(ModuleLoadError) as again:
        guest.load(faulty_ko, fault="leak_device")
    assert "cannot create duplicate filename" in again.value.evidence


def test_a_run_fails_when_the_module_leaves_its_device(
    faulty_ko: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(faulty_ko), "--param", "fault=leak_device"]) == 1
    assert "/dev/faulty exists" in capsys.readouterr().err


def test_a_directory_of_the_image_s_init_is_no_device_left_behind(guest: Guest) -> None:
    before = device_nodes(guest)
    guest.syscaller.mkdir("/dev/made-by-init")
    assert "/dev/null" in before
    assert device_nodes(guest) == before
