"""The plugin as a stranger meets it before anything boots: options, markers, mistakes, no cost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from plugin.strangers import RunSuite

INERT = """
import sys

def test_without_a_guest(request):
    rooms = ("lifecycle.prepare", "guest", "machine", "klog")
    heavy = tuple(f"kmod_harness.{room}" for room in rooms)
    third = ("paramiko", "pexpect", "elftools", "qemu", "rich")
    assert not {*heavy, *third} & set(sys.modules)
    assert "machine" not in request.fixturenames
"""

SPEC = """
import dataclasses
import pytest

@pytest.fixture(scope="session")
def machine_spec(machine_spec):
    return dataclasses.replace(machine_spec, memory_mib=300)

def test_spec(machine_spec):
    print("SPEC", machine_spec)
"""

INI = """
[pytest]
kh_cpus = 2
kh_memory = 512M
kh_accel = tcg
kh_append = quiet "a b"
kh_cold = true
"""


def test_a_suite_without_guests_pays_nothing(run_suite: RunSuite) -> None:
    run = run_suite({"test_inert.py": INERT})
    assert run.status == 0
    assert run.tests["test_without_a_guest"].outcome == ""


def test_importing_the_plugin_takes_a_fifth_of_what_pytest_takes_at_most(tmp_path: Path) -> None:
    # a ratio: processors shared with others are slower for both
    code = "import time; a = time.process_time(); import pytest; b = time.process_time();"
    code += "import kmod_harness.pytest_plugin; print((time.process_time() - b) / (b - a))"
    compiled_once = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=compiled_once)
        for _ in range(5)
    ]
    assert min(float(run.stdout) for run in runs) < 0.2, [run.stdout for run in runs]


def test_fixture_beats_command_line_beats_ini_beats_default(run_suite: RunSuite) -> None:
    run = run_suite({"test_spec.py": SPEC, "pytest.ini": INI}, "--kh-cpus=3", "--kh-memory=1G")
    assert run.status == 0
    (spec,) = (line for line in run.output.splitlines() if line.startswith("SPEC"))
    assert "cpus=3" in spec, "command line over ini"
    assert "memory_mib=300" in spec, "fixture over command line"
    assert "accelerator='tcg'" in spec, "ini over default"
    assert "append=('quiet', 'a b')" in spec
    assert "rootfs='embedded'" in spec, "default"


def test_the_header_names_what_was_asked_for(run_suite: RunSuite) -> None:
    run = run_suite({"test_spec.py": SPEC, "pytest.ini": INI}, "--kh-kernel=debian")
    assert "kmod-harness: kernel=debian, append=['quiet', 'a b'], cpus=2, memory=512M" in run.output


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--kh-cpus=many", "--kh-cpus"),
        ("--kh-cpus=1000", "cpus must be between 1 and 64"),
        ("--kh-memory=lots", "a memory size is a number with M or G behind it"),
        ("--kh-accel=warp", "accelerator must be auto, tcg or kvm"),
        ("--kh-timeout=0", "must be above 0"),
    ],
)
def test_a_wrong_value_is_a_usage_error(pytester: pytest.Pytester, option: str, said: str) -> None:
    run = pytester.runpytest_inprocess(option)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(f"ERROR: *{said}*")
    assert "Traceback" not in run.stderr.str()


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("expect_splat('WARN')", "expect_splat knows no kind 'WARN'; one of OOPS, BUG, WARNING,"),
        ("expect_splat()", "expect_splat takes one kind"),
        ("expect_splat('OOPS', 'BUG')", "expect_splat takes one kind"),
        ("expect_splat(sort='OOPS')", "expect_splat takes one kind"),
        ("cold_boot(1)", "cold_boot takes no argument"),
    ],
)
def test_a_wrong_marker_is_a_usage_error_that_names_the_test(
    pytester: pytest.Pytester, marker: str, said: str
) -> None:
    pytester.makepyfile(test_marked=f"import pytest\n@pytest.mark.{marker}\ndef test_marked(guest): pass\n")
    run = pytester.runpytest_inprocess("--strict-markers")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines(f"ERROR: test_marked.py::test_marked: {said}*")


def test_markers_and_options_are_listed(run_suite: RunSuite) -> None:
    assert "@pytest.mark.expect_splat(kind): " in run_suite({}, "--markers").output
    listed = run_suite({}, "--help").output
    assert "--kh-kernel" in listed
    assert "kh_kernel" in listed


def test_a_kernel_that_is_not_there_is_a_clean_error_of_each_test(run_suite: RunSuite) -> None:
    suite = "def test_one(guest): pass\ndef test_two(guest): pass\n"
    run = run_suite({"test_guest.py": suite}, "--kh-kernel=/nowhere/bzImage")
    assert run.status == pytest.ExitCode.TESTS_FAILED
    for test in ("test_one", "test_two"):
        reported = run.tests[test]
        assert (reported.status, reported.outcome) == (("error",), "setup-error")
        assert reported.texts[0].startswith("Misuse: there is no kernel /nowhere/bzImage")
        assert ".py:" not in reported.texts[0], "no traceback"


def test_a_kernel_that_was_not_built_comes_with_the_command_that_builds_it(
    run_suite: RunSuite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = run_suite({"test_guest.py": "def test_one(guest): pass\n"}, "--kh-kernel=minimal")
    (text,) = run.tests["test_one"].texts
    assert text.startswith("Misuse: the minimal kernel is not built yet")
    assert "kmod-harness kernel build minimal" in text


def test_a_machine_spec_of_another_type_is_a_clean_error(run_suite: RunSuite) -> None:
    suite = "import pytest\n@pytest.fixture(scope='session')\ndef machine_spec(): return 'minimal'\n"
    run = run_suite({"test_guest.py": suite + "def test_one(guest): pass\n"})
    (text,) = run.tests["test_one"].texts
    assert text.startswith("Misuse: machine_spec must return a kmod_harness.Spec, not str")


def test_no_test_is_pytests_own_exit_status(run_suite: RunSuite) -> None:
    assert run_suite({"test_none.py": ""}).status == pytest.ExitCode.NO_TESTS_COLLECTED
