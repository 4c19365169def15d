"""A guest restored while the command line is still read: taken when the guess holds, else never seen."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmod_harness import Prepared, Spec, prepare
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.cli.run.speculative_restore import SpeculativeRestore
from kmod_harness.lifecycle.boot_template import template_of
from kmod_harness.machine.rundir import base_directory
from shared.cli_process import kmod_harness


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory of its own: what is remembered is remembered for it alone, as are run directories."""
    monkeypatch.chdir(tmp_path)
    # short: unix sockets lie in it
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        yield tmp_path


@pytest.fixture(scope="module")
def prepared(run_kernel: Kernel) -> Prepared:
    return prepare(Spec(kernel=run_kernel.name, ssh=False))


def slot_of(words: list[str]) -> Path:
    return SpeculativeRestore(words)._slot


def run_directories() -> list[Path]:
    return list(base_directory().iterdir())


def test_nothing_is_started_for_a_command_line_that_was_never_run(here: Path, prepared: Prepared) -> None:
    with SpeculativeRestore(["run", "never.ko"]) as speculative:
        assert speculative.take(prepared, template_of(prepared)) is None


def test_what_a_run_led_to_is_on_its_way_the_next_time(
    here: Path, prepared: Prepared, run_kernel: Kernel
) -> None:
    words = ["run", "--kernel", run_kernel.name, "--", "true"]
    assert kmod_harness(*words).returncode == 0

    with SpeculativeRestore([*words[:-1], "false"]) as speculative:
        guest = speculative.take(prepared, template_of(prepared))
        assert guest is not None, "what stands behind `--` chooses no machine"
        with guest.machine:
            assert guest.was_restored
            assert guest.run(["echo", "here"]).stdout == b"here\n"
            assert abs(int(guest.run(["date", "+%s"]).stdout) - time.time()) < 3

    assert run_directories() == []


def test_a_guess_that_is_not_taken_leaves_nothing(here: Path, run_kernel: Kernel) -> None:
    words = ["run", "--kernel", run_kernel.name, "--", "true"]
    assert kmod_harness(*words).returncode == 0

    with SpeculativeRestore(words) as speculative:
        machine = speculative._machine
        assert machine is not None
        pid = machine.pid

    assert not Path(f"/proc/{pid}").exists()
    assert run_directories() == []


@pytest.mark.parametrize("wrong", ["memory", "process"])
def test_a_wrong_guess_changes_nothing_of_the_run(here: Path, wrong: str, run_kernel: Kernel) -> None:
    words = ["run", "--kernel", run_kernel.name, "--json", "--", "sh", "-c", "grep MemTotal /proc/meminfo"]
    first = json.loads(kmod_harness(*words).stdout)
    slot = slot_of(words)
    kept = json.loads(slot.read_text())
    if wrong == "memory":
        kept["spec"]["memory_mib"] = 128
    else:
        kept["process"] = [77, 77]
    slot.write_text(json.dumps(kept))

    second = json.loads(kmod_harness(*words).stdout)

    assert (second["outcome"], second["command"]) == (first["outcome"], first["command"])
    assert "256M" in second["qemu"]["argv"]
    # and the next one knows better
    assert json.loads(slot.read_text())["spec"]["memory_mib"] == 256


def test_a_refused_module_boots_nothing_that_can_be_seen(
    here: Path, run_kernel: Kernel, chardev_ko: Path
) -> None:
    module = here / "chardev.ko"
    shutil.copy(chardev_ko, module)
    words = ["run", "--json", "--kernel", run_kernel.name, module.name]
    assert kmod_harness(*words).returncode == 0
    # with MODVERSIONS the release is not compared
    module.write_bytes(module.read_bytes().replace(b" mod_unload ", b" mod_unlaod "))

    done = kmod_harness(*words)
    found = json.loads(done.stdout)

    assert (done.returncode, found["outcome"]) == (2, "setup-error")
    assert "would refuse chardev.ko" in found["reason"]
    assert (found["kernel_log"], found["qemu"]["argv"], found["timings"]["boot"]) == ([], [], None)
    assert run_directories() == []
