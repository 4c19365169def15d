"""What `doctor` looks for, by the list that packages are installed from, and what it advises to whom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kmod_harness.cli.doctor.command import show
from kmod_harness.cli.doctor.parts import CheckResult
from kmod_harness.cli.doctor.tasks import (
    CHECKOUT_TASKS,
    TASKS,
    install_advice,
    needed,
    with_prerequisites,
)
from kmod_harness.host.packages import Requirement, found, parse_requirements, requirements

#: The running Python is looked for by nobody; Python's own module for environments by `make` alone.
_MAKES_OWN = {"python3", "python:ensurepip"}


@pytest.fixture(params=["nothing", "Debian's apt alone"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without a program to be found, with an empty cache."""
    programs = tmp_path / "bin"
    programs.mkdir()
    if request.param != "nothing":
        for name in ("apt-get", "apt-cache", "dpkg-deb"):
            (programs / name).symlink_to("/bin/false")
    return {"PATH": str(programs), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def doctor(environment: dict[str, str], *tasks: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kmod_harness.cli.main", "doctor", *tasks]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_every_check_of_the_list_is_looked_for_by_some_task() -> None:
    listed = requirements()
    groups = {"run", "kernel", "debian", "explain", "buildroot"}
    wanted = {one.check for one in listed if one.group in groups} - _MAKES_OWN - {"-"}
    assert {one.check for task in TASKS for one in needed(task, listed, ())} == wanted
    everything = {one.check for one in listed} - {"-"}
    assert {one.check for task in (*TASKS, *CHECKOUT_TASKS) for one in needed(task, listed, ())} == everything


def test_every_check_that_a_task_names_is_in_the_list() -> None:
    known = {(one.group, one.check) for one in requirements()}
    named = {
        (group, check)
        for task in (*TASKS, *CHECKOUT_TASKS)
        for group, checks in task.needs.items()
        for check in checks.split()
    }
    assert named - known == set()


@pytest.mark.parametrize(
    ("check", "there"),
    [
        ("sh", True),
        ("no-such-program", False),
        ("file:/etc/passwd", True),
        ("file:/no/such/file", False),
        ("library:libc.so.6", True),
        ("library:libnosuch.so.1", False),
        ("python:json", True),
        ("python:no_such_module", False),
    ],
)
def test_each_kind_of_check_is_understood(check: str, there: bool) -> None:
    assert bool(found(check)) is there


def test_what_a_part_is_made_with_is_needed_while_it_is_not_there() -> None:
    listed = parse_requirements("run qemu qemu-system-x86_64\nrun gcc gcc\nrun apt apt-get\n")
    run = TASKS[0]
    assert [one.check for one in needed(run, listed, ())] == ["qemu-system-x86_64"]
    assert [one.check for one in needed(run, listed, ["guest agent"])] == ["qemu-system-x86_64", "gcc"]


def test_a_task_brings_those_it_requires_and_no_other() -> None:
    tasks = (*TASKS, *CHECKOUT_TASKS)
    assert [task.name for task in with_prerequisites(["explain"], tasks)] == ["run", "explain"]
    assert [task.name for task in with_prerequisites(["kernel"], tasks)] == ["kernel"]
    assert [task.name for task in with_prerequisites(["test"], tasks)] == [
        *("run", "modules", "kernel", "test")
    ]


def test_the_advice_is_what_the_reader_has() -> None:
    missing = [Requirement("kernel", "flex", "flex"), Requirement("explain", "gdb", "gdb")]
    install = ("as root:", ("apt-get install --no-install-recommends flex gdb",))
    assert list(install_advice(missing, apt=True, checkout=False)) == [install]
    assert list(install_advice(missing, apt=True, checkout=True)) == [
        install, ("or, in this checkout:", ("make setup", "make explain"))
    ]  # fmt: skip
    every_group = [one for one in requirements() if one.check != "-"]
    assert len(list(install_advice(every_group, apt=True, checkout=True))) == 2
    ((words, commands),) = install_advice(missing, apt=False, checkout=True)
    assert "distribution" in words and commands == ()
    assert list(install_advice([], apt=True, checkout=True)) == []


def test_a_machine_that_has_nothing_is_told_so_without_a_traceback(bare: dict[str, str]) -> None:
    told = doctor(bare)
    assert told.returncode == 2
    assert told.stderr == ""
    assert "missing  qemu-system-x86_64" in told.stdout
    assert "package qemu-system-x86; for run, test" in told.stdout
    verdict = "run not yet: kernel, guest agent, root file system, qemu-system-x86_64, gcc"
    assert verdict in " ".join(told.stdout.split())
    assert [line for line in told.stdout.splitlines() if len(line) > 80] == []


def test_only_the_chosen_tasks_are_looked_at(bare: dict[str, str]) -> None:
    told = doctor(bare, "disks")
    assert told.returncode == 2
    assert "qemu-img" in told.stdout
    for other in ("gdb", "flex", "buildroot"):
        assert other not in told.stdout


def test_a_task_nobody_knows_is_refused_with_those_there_are(bare: dict[str, str]) -> None:
    told = doctor(bare, "miracles")
    assert told.returncode == 2
    assert "miracles" in told.stderr
    assert all(task.name in told.stderr for task in TASKS)


def test_what_is_there_is_shown_with_its_place(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "gdb").symlink_to("/bin/true")
    environment = {"PATH": str(programs), "HOME": str(tmp_path)}
    assert f"{programs}/gdb" in " ".join(doctor(environment, "debug").stdout.split())


def test_a_long_subject_squeezes_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/usr/share/fonts/truetype/liberation/LiberationSerif-Regular.ttf"
    show(
        [CheckResult("QEMU", "10.0.13 and more words"), CheckResult(path, "package fonts", there=False)],
        [],
        {},
        [],
    )
    assert capsys.readouterr().out.splitlines() == [
        "ok       QEMU  10.0.13 and more words",
        f"missing  {path}",
        "               package fonts",
        "",
    ]
