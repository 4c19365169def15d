"""Sessions with real guests: wider scopes, several machines, xdist, what comes late, Ctrl-C, pdb."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from plugin.strangers import BODY_LINE, SPEAKS_FOR_THE_KERNEL, RunSuite

WARNING_LINE = "WARNING: CPU: 0 PID: 1 at kernel/late.c:1 late_work+0x1/0x2"

SCOPES = f"""
import pytest
{SPEAKS_FOR_THE_KERNEL}
def warn(guest):
    for line in ("{WARNING_LINE}", "{BODY_LINE}"):
        guest.write_file("/dev/kmsg", f"<4>{{line}}\\n".encode())

@pytest.fixture(scope="module")
def shared(machine):
    with machine.guest() as guest:
        guest.write_file("/root/prepared", b"once")
        yield guest

def test_one_that_warns(shared):
    warn(shared)

def test_the_same_guest_and_not_to_blame(shared):
    assert shared.read_file("/root/prepared") == b"once"

def test_without_a_guest_is_not_judged():
    pass

def test_another_that_warns(shared):
    warn(shared)

def test_of_the_pristine_guest(guest):
    guest.write_file("/root/mine", b"")
    says = "; ".join(f"echo '<4>{{line}}' > /dev/kmsg" for line in ("{WARNING_LINE}", "{BODY_LINE}"))
    guest.run(["sh", "-c", "mkfifo /root/now; (read go < /root/now; " + says + ") &"]).check()

def test_between(machine, pristine):
    kept = pristine._kept.guest
    kept.write_file("/root/now", b"go\\n")
    kept.kernel_log.await_text("Comm: init")

def test_that_comes_after_a_late_splat(guest):
    pass

def test_after_that_has_a_new_guest(guest):
    assert not guest.exists("/root/mine")
    guest.write_file("/root/mine", b"")

@pytest.mark.cold_boot
def test_cold_boot_has_its_own(guest, pristine):
    assert not guest.exists("/root/mine")
    assert guest is not pristine._kept.guest
    assert pristine._kept.guest.exists("/root/mine")
"""

SPECS = f"""
import os
import pytest
{SPEAKS_FOR_THE_KERNEL}
from kmod_harness import Spec

@pytest.fixture(scope="session", params=[1, 2], ids=["one", "two"])
def machine_spec(request, machine_spec):
    import dataclasses
    return dataclasses.replace(machine_spec, cpus=request.param, ssh=False)

@pytest.mark.parametrize("again", range(4))
def test_cpus(guest, again, machine_spec, record_property):
    record_property("worker", os.environ.get("PYTEST_XDIST_WORKER", ""))
    record_property("qemu", guest.machine.pid)
    assert guest.run(["nproc"]).text == f"{{machine_spec.cpus}}\\n"

def test_splats(guest, machine_spec, record_property):
    record_property("qemu", guest.machine.pid)
    if machine_spec.cpus == 2:
        for line in ("{WARNING_LINE}", "{BODY_LINE}"):
            guest.write_file("/dev/kmsg", f"<4>{{line}}\\n".encode())
"""

CPUS = """
def test_cpus_{number}(guest, machine):
    with machine.guest() as other:
        assert guest.run(["nproc"]).text == other.run(["nproc"]).text == "{cpus}\\n"
"""

TWO_CPUS = """
import dataclasses
import pytest

@pytest.fixture(scope="session")
def machine_spec(machine_spec):
    return dataclasses.replace(machine_spec, cpus=2)
"""

NO_BOOT_SPECS = """
import pytest

@pytest.fixture(scope="session", params=["minimal", "debian"])
def machine_spec(request):
    return request.param

@pytest.mark.parametrize("again", range(2))
def test_spec(machine_spec, again, request, record_property):
    marker = request.node.get_closest_marker("xdist_group")
    record_property("group", marker.kwargs["name"] if marker else "-")
"""

WAITS = """
def test_waits(guest):
    print("QEMU", guest.machine.pid, guest.machine.directory, flush=True)
    guest.run(["sleep", "1000"], timeout=1000)
"""

DEBUGS = """
def test_debugs(guest):
    limit = guest.machine.deadline("debugging", 0.5, exact=True)
    breakpoint()
    assert not limit.passed
"""


def test_guests_of_any_scope_are_judged_test_by_test(run_suite: RunSuite) -> None:
    run = run_suite({"test_scopes.py": SCOPES}, "--kh-unrestored")
    statuses = {name: reported.status[0] for name, reported in run.tests.items()}
    assert statuses == {
        "test_one_that_warns": "failure",
        "test_the_same_guest_and_not_to_blame": "passed",
        "test_without_a_guest_is_not_judged": "passed",
        "test_another_that_warns": "failure",
        "test_of_the_pristine_guest": "passed",
        "test_between": "passed",
        "test_that_comes_after_a_late_splat": "error",
        "test_after_that_has_a_new_guest": "passed",
        "test_cold_boot_has_its_own": "passed",
    }, run.output
    late = run.tests["test_that_comes_after_a_late_splat"].texts[0]
    first, _, rest = late.partition("\n")
    assert first == "KernelWarning: late_work: WARNING"
    assert " ".join(rest.split()).startswith(
        "WARNING: WARNING in late_work, between tests,"
        " after test_scopes.py::test_of_the_pristine_guest had ended"
    )
    assert re.search(r"^kmod-harness: 1 boot, ", run.output, re.MULTILINE), "only the cold_boot test booted"


def test_a_machine_spec_counts_in_the_modules_that_override_it_and_in_no_other(run_suite: RunSuite) -> None:
    one, two, three = (CPUS.format(number=number, cpus=cpus) for number, cpus in enumerate((1, 2, 1)))
    run = run_suite({"test_a.py": one, "test_b.py": TWO_CPUS + two, "test_c.py": three})
    assert {reported.status for reported in run.tests.values()} == {("passed",)}, run.output
    assert len(run.tests) == 3


def test_under_xdist_each_worker_boots_each_spec_once(run_suite: RunSuite) -> None:
    run = run_suite({"test_specs.py": SPECS}, "-n2", "--kh-unrestored")
    assert {name: reported.status for name, reported in run.tests.items()} == {
        **{f"test_cpus[{spec}-{again}]": ("passed",) for spec in ("one", "two") for again in range(4)},
        "test_splats[one]": ("passed",),
        "test_splats[two]": ("failure",),
    }, run.output
    booted = {
        (reported.properties["worker"], name[len("test_cpus[") :][:3], reported.properties["qemu"])
        for name, reported in run.tests.items()
        if name.startswith("test_cpus")
    }
    assert {worker for worker, _, _ in booted} == {"gw0", "gw1"}
    assert len({(worker, spec) for worker, spec, _ in booted}) == len(booted), booted
    failed = run.tests["test_splats[two]"]
    assert failed.outcome == "splat"
    assert failed.messages[0] == "KernelWarning: late_work: WARNING"
    assert failed.texts[0].startswith("KernelWarning: late_work: WARNING\nWARNING: WARNING in late_work\n")
    assert "- kernel log -" in run.section("test_splats[two]")
    # the one that splatted was replaced, if a test of its machine came after it in the same worker
    guests = {reported.properties["qemu"] for reported in run.tests.values()}
    counts = re.findall(r"^kmod-harness: (\d+) (?:boot|restore)s?\b", run.output, re.MULTILINE)
    assert sum(map(int, counts)) == len(guests), run.output


@pytest.mark.parametrize(
    ("dist", "groups"), [("loadgroup", {"machine_spec-0", "machine_spec-1"}), ("load", set())]
)
def test_specs_are_groups_for_xdist_where_it_groups(run_suite: RunSuite, dist: str, groups: set[str]) -> None:
    """Seen by another plugin's hook; xdist 3.8 itself drops every group under pytest 9.2."""
    run = run_suite({"test_specs.py": NO_BOOT_SPECS}, "-n1", f"--dist={dist}")
    assert {reported.properties["group"] for reported in run.tests.values()} - {"-"} == groups, run.output


def test_a_boot_that_fails_is_tried_once(run_suite: RunSuite) -> None:
    suite = "def test_one(guest): pass\ndef test_two(guest): pass\n"
    run = run_suite({"test_boot.py": suite}, "--kh-boot-timeout=0.3", "--kh-cold")
    assert {reported.outcome for reported in run.tests.values()} == {"boot-failed"}
    assert run.tests["test_one"].texts[0].startswith("BootFailed: the guest was not ready within 0.3 s")
    assert run.tests["test_one"].texts == run.tests["test_two"].texts
    assert run.tests["test_two"].seconds < 0.3


def test_ctrl_c_leaves_no_qemu_and_no_directory(kernel_option: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_waits.py").write_text(WAITS)
    argv = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", *kernel_option]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as pytest_process:
        assert pytest_process.stdout is not None
        line = next(line for line in pytest_process.stdout if "QEMU" in line)
        pid, directory = line.partition("QEMU ")[2].split()
        pidfd = os.pidfd_open(int(pid))
        pytest_process.send_signal(signal.SIGINT)
        rest = pytest_process.stdout.read()
    assert pytest_process.returncode == pytest.ExitCode.INTERRUPTED, rest
    with pytest.raises(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, 0)
    os.close(pidfd)
    assert not Path(directory).exists()


def test_deadlines_stand_still_in_pdb(kernel_option: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_debugs.py").write_text(DEBUGS)
    argv = ["-m", "pytest", "-p", "no:cacheprovider", *kernel_option]
    child = pexpect.spawn(sys.executable, argv, cwd=str(tmp_path), timeout=60)
    child.expect_exact("(Pdb)")
    child.sendline("import time; time.sleep(0.6); print('slept' + '!')")
    child.expect_exact("slept!")
    child.sendline("continue")
    assert b"1 passed" in child.read()


LOST_LOG = """
def test_removes(guest):
    guest.run(["rm", "/dev/kmsg"])

def test_innocent(guest):
    assert guest.run(["true"]).status == 0

def test_innocent_again(guest):
    assert guest.run(["true"]).status == 0
"""


@pytest.mark.parametrize("options", [(), ("--kh-unrestored",)], ids=["restored", "unrestored"])
def test_a_test_that_removes_the_log_fails_alone(run_suite: RunSuite, options: tuple[str, ...]) -> None:
    run = run_suite({"test_lost.py": LOST_LOG}, *options)
    assert "kernel log cannot be reached any more" in run.output
    assert "2 passed" in run.output and "error" not in run.output.splitlines()[-1], run.output
