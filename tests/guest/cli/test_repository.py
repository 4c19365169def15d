"""A repository with kmod-harness.toml: `run` and its like without a file name, pytest, the first files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from plugin.strangers import run_pytest
from shared.checkout import ROOT
from shared.cli_process import PATIENCE, kmod_harness, run_json, unwrapped

SOURCES = ROOT / "tests/readme/stranger"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_kernel: Kernel) -> Iterator[Path]:
    """A stranger's repository, whose module makes /dev/my and oopses when it is told to."""
    repository = tmp_path / "repository"
    shutil.copytree(SOURCES, repository)
    says(repository, run_kernel)
    monkeypatch.chdir(repository)
    yield repository


def says(repository: Path, kernel: Kernel, more: str = "", modules: str = 'kbuild = ["."]') -> None:
    """Writes the repository's settings for the kernel of this run."""
    text = f"kernel = {json.dumps(kernel.name)}\n{more}\n[modules]\n{modules}\n"
    (repository / "kmod-harness.toml").write_text(text)


def test_a_run_without_a_file_name_builds_and_runs_what_the_repository_says(here: Path) -> None:
    status, found = run_json("--", "sh", "-c", "echo hello > /dev/my; cat /dev/my")
    assert (status, found["outcome"], found["command"]["stdout"]) == (0, "passed", "hello\n")
    (module,) = found["modules"]
    assert (module["name"], module["path"], module["unloaded"]) == ("my", "my.ko", True)


def test_what_is_run_is_what_the_source_says_now(here: Path) -> None:
    assert kmod_harness("run").returncode == 0
    source = here / "my.c"
    source.write_text(source.read_text().replace("return misc_register(&my_device);", "return -ENODEV;"))
    later = time.time() + 5
    os.utime(source, (later, later))
    status, found = run_json()
    assert (status, found["outcome"]) == (1, "failed")
    assert "ENODEV" in json.dumps(found["errors"])


def test_a_run_below_takes_the_repositorys_own_paths(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = here / "below/it"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    status, found = run_json()
    assert (status, found["modules"][0]["path"]) == (0, str(here / "my.ko"))


def test_the_machine_is_the_files_and_the_command_line_wins(here: Path, run_kernel: Kernel) -> None:
    says(here, run_kernel, 'cpus = 2\nmemory = "300M"\nappend = ["from=file"]')
    words = ("sh", "-c", "nproc; cat /proc/cmdline")
    _, found = run_json("--", *words)
    assert found["command"]["stdout"].startswith("2\n")
    assert "from=file" in found["command"]["stdout"]
    assert "300M" in found["qemu"]["argv"]

    _, found = run_json("--cpus=1", "--append=from=words", "--", *words)
    assert found["command"]["stdout"].startswith("1\n")
    assert "from=words" in found["command"]["stdout"]
    assert "from=file" not in found["command"]["stdout"]
    assert "300M" in found["qemu"]["argv"]


def test_a_machine_remembered_for_these_words_is_not_taken_for_another_file(
    here: Path, run_kernel: Kernel
) -> None:
    """A run starts what the same words led to last time, before it reads them."""
    for memory in ("300M", "200M", "300M", "200M"):
        says(here, run_kernel, f'memory = "{memory}"')
        status, found = run_json()
        assert status == 0
        assert memory in found["qemu"]["argv"]


def test_a_repositorys_own_command_builds_for_the_kernel(here: Path, run_kernel: Kernel) -> None:
    says(here, run_kernel, modules='build = "make -C $KERNEL_DIR M=$PWD modules"\nload = ["my.ko"]')
    status, found = run_json()
    assert (status, [module["name"] for module in found["modules"]]) == (0, ["my"])


def test_a_failure_is_reproduced_without_the_repository(here: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    done = kmod_harness("run", "--bundle", bundle, "--", "sh", "-c", "echo oops > /dev/my")
    assert done.returncode == 3, done.stderr
    # the directory stays: a reproduction is given where the run was
    for path in here.iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)
    again = subprocess.run(
        [bundle / "reproduce.sh"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert again.returncode == 3, again.stderr


def test_a_module_that_does_not_compile_ends_before_the_boot_with_its_first_error(here: Path) -> None:
    (here / "my.c").write_text("int x = nosuch;\n")
    status, found = run_json()
    assert (status, found["outcome"], found["timings"]["boot"]) == (2, "setup-error", None)
    assert "my.c:1:9: error" in found["error"]["evidence"]


def test_a_mistake_in_the_file_is_in_the_json_object(here: Path) -> None:
    with (here / "kmod-harness.toml").open("a") as file:
        file.write("laod = []\n")
    status, found = run_json()
    assert (status, found["outcome"]) == (2, "setup-error")
    assert "`modules.laod` is no key of kmod-harness; did you mean `load`?" in found["error"]["message"]


def test_verify_and_modules_take_the_repositorys_too(here: Path) -> None:
    done = kmod_harness("modules")
    assert (done.returncode, done.stdout) == (0, "my.ko\n"), done.stderr
    done = kmod_harness("verify")
    assert done.returncode == 0, done.stderr
    assert "passed: 1 module: every byte" in unwrapped(done.stderr)


def test_boot_loads_them(here: Path) -> None:
    done = kmod_harness("boot", input="test -c /dev/my\n")
    assert done.returncode == 0, done.stderr
    assert "loaded my at" in unwrapped(done.stderr)


def test_without_the_file_there_is_nothing_to_run(here: Path) -> None:
    done = kmod_harness("run", "--no-toml")
    assert done.returncode == 2
    assert "nothing to do" in unwrapped(done.stderr)


SUITE = """
def test_it_remembers(guest, built_modules, machine_spec):
    print("SPEC", machine_spec)
    with guest.load(built_modules["my"]):
        guest.write_file("/dev/my", b"hello")
        assert guest.read_file("/dev/my") == b"hello"
"""


def test_pytest_takes_machine_and_modules_from_the_file(here: Path, run_kernel: Kernel) -> None:
    says(here, run_kernel, 'cpus = 2\nmemory = "300M"')
    run = run_pytest(here, {"test_my.py": SUITE}, "--kh-cpus=1")
    assert run.tests["test_it_remembers"].status == ("passed",), run.output
    (spec,) = (line for line in run.output.splitlines() if line.startswith("SPEC"))
    assert "cpus=1" in spec, "command line over file"
    assert "memory_mib=300" in spec
    assert (
        f"kmod-harness: kernel={run_kernel.name}, memory=300M, modules (from kmod-harness.toml)" in run.output
    )


def test_pytest_started_elsewhere_has_the_file_of_the_tests_it_is_given(here: Path, tmp_path: Path) -> None:
    (here / "test_my.py").write_text(SUITE)
    run = run_pytest(tmp_path, {}, f"{here.name}/test_my.py::test_it_remembers")
    assert run.tests["test_it_remembers"].status == ("passed",), run.output
    assert f"(from {here.name}/kmod-harness.toml)" in run.output


def test_a_name_that_no_module_has_is_answered_with_those_there_are(here: Path) -> None:
    run = run_pytest(here, {"test_my.py": SUITE.replace('["my"]', '["mine"]')})
    assert "KeyError: 'mine: the modules of kmod-harness.toml are my'" in run.output


def test_two_workers_have_the_modules_of_one_repository(here: Path) -> None:
    suite = SUITE + "\ndef test_again(guest, built_modules):\n    guest.load(built_modules['my'])\n"
    run = run_pytest(here, {"test_my.py": suite}, "-n2")
    assert {test: one.status for test, one in run.tests.items()} == {
        "test_it_remembers": ("passed",),
        "test_again": ("passed",),
    }, run.output


def test_a_module_that_does_not_compile_is_an_error_of_each_test(here: Path) -> None:
    (here / "my.c").write_text("int x = nosuch;\n")
    run = run_pytest(here, {"test_my.py": SUITE})
    reported = run.tests["test_it_remembers"]
    assert (reported.status, reported.outcome) == (("error",), "setup-error")
    assert reported.texts[0].startswith("BuildFailed: building the modules in")
    assert "my.c:1:9: error" in reported.texts[0]


def test_a_mistake_in_the_file_is_a_usage_error_of_pytest(here: Path) -> None:
    (here / "kmod-harness.toml").write_text('memory = 512\n[modules]\nkbuild = ["."]\n')
    run = run_pytest(here, {"test_my.py": SUITE})
    assert run.status == pytest.ExitCode.USAGE_ERROR
    said = 'kmod-harness.toml:1: `memory` takes a size, as "512M" or "2G", not 512'
    assert f"ERROR: {here}/{said}" in run.output
    assert "Traceback" not in run.output


def test_the_first_files_pass(here: Path, run_kernel: Kernel) -> None:
    (here / "kmod-harness.toml").unlink()
    done = kmod_harness("init")
    assert done.returncode == 0, done.stderr
    assert "found    my.ko: from Makefile; it makes a device" in done.stdout
    settings = here / "kmod-harness.toml"
    lines = settings.read_text().splitlines()
    # the kernel of this run in place of the one that is here
    chosen = [
        f"kernel = {json.dumps(run_kernel.name)}" if line.startswith("kernel =") else line for line in lines
    ]
    settings.write_text("\n".join(chosen) + "\n")

    assert kmod_harness("run").returncode == 0
    run = run_pytest(here, {})
    assert {test: one.status for test, one in run.tests.items()} == {
        "test_my_loads_and_unloads": ("passed",),
        "test_the_device_of_my_opens": ("passed",),
    }, run.output
