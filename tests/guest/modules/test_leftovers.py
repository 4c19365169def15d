"""What modules leave in the kernel, one of each kind, by `run` and by tests; and what they leave not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from kmod_harness import Guest
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.leftovers.findings import Finding
from kmod_harness.leftovers.watch import LeftoverWatch
from kmod_harness.pytest_plugin.testbed import Testbed
from shared.checkout import ROOT
from shared.cli_process import kmod_harness, unwrapped

SOURCES = Path(__file__).parent / "forgetful"
PAGE = ROOT / "harness/docs/leftovers.md"
#: What is forgotten -> what the findings must tell, in the kernel's or the module's own words.
KINDS = {
    "timer": "points to waiting, which calls fire",
    "work": "still calls work",
    "notifier": "points to at_reboot, which calls called",
    "proc": "/proc/forgetful exists",
    "irq": "still calls interrupted",
    "chrdev": "lists the device number",
    "sysctl": "to table",
    "file_system": "points to file_system, which calls no_context",
    "netdev": "/sys/class/net/forgetful0 exists",
    "kthread": "still calls run",
    "slab": "/sys/kernel/slab/forgetful exists",
    "kobject": "/sys/kernel/forgetful exists",
    "workqueue": "the workqueue forgetful exists",
    "file": "1 open file that nothing refers to any more",
}


@pytest.fixture(scope="module")
def forgetful_ko(tmp_path_factory: pytest.TempPathFactory, run_kernel: Kernel) -> Path:
    directory = tmp_path_factory.mktemp("forgetful")
    for source in SOURCES.iterdir():
        shutil.copy(source, directory)
    built = kmod_harness("modules", str(directory), "--kernel", run_kernel.name)
    assert built.returncode == 0, built.stderr
    return directory / "forgetful.ko"


def look(guest: Guest, kernel: Kernel) -> LeftoverWatch:
    watch = guest._watch = LeftoverWatch(guest, kernel)
    return watch


def left(guest: Guest, kernel: Kernel, ko: Path, **parameters: str | bool) -> list[Finding]:
    watch = look(guest, kernel)
    guest.load(ko, **parameters).unload()
    found = watch.take_findings()
    assert watch.limits == []
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_exit_forgets_is_found(
    guest: Guest, run_kernel: Kernel, forgetful_ko: Path, kind: str
) -> None:
    told = [str(finding) for finding in left(guest, run_kernel, forgetful_ko, kind=kind)]
    assert any(KINDS[kind] in text for text in told), told


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_exit_takes_back_is_not(
    guest: Guest, run_kernel: Kernel, forgetful_ko: Path, kind: str
) -> None:
    assert left(guest, run_kernel, forgetful_ko, kind=kind, tidy=True) == []


def test_a_pointer_is_told_with_its_symbol_and_source_line(
    guest: Guest, run_kernel: Kernel, forgetful_ko: Path
) -> None:
    (found,) = left(guest, run_kernel, forgetful_ko, kind="notifier")
    line = next(
        number
        for number, text in enumerate((SOURCES / "forgetful.c").read_text().splitlines(), 1)
        if text.startswith("static int called(")
    )
    assert (found.module, found.symbol) == ("forgetful", "at_reboot")
    # the compiler's line of a function is its first, or that of its brace
    assert found.line in (f"forgetful.c:{line}", f"forgetful.c:{line + 1}")


def test_it_is_found_in_a_booted_guest_too(machine: Testbed, run_kernel: Kernel, forgetful_ko: Path) -> None:
    with machine.guest(cold=True) as guest:
        assert left(guest, run_kernel, forgetful_ko, kind="timer") != []


def test_it_is_found_before_the_memory_is_given_to_the_next_module(
    guest: Guest, run_kernel: Kernel, forgetful_ko: Path, chardev_ko: Path
) -> None:
    watch = look(guest, run_kernel)
    guest.load(forgetful_ko, kind="notifier").unload()
    guest.load(chardev_ko).unload()
    assert [found.module for found in watch.take_findings()] == ["forgetful"]


def test_what_is_left_is_found_once(guest: Guest, run_kernel: Kernel, forgetful_ko: Path) -> None:
    watch = look(guest, run_kernel)
    guest.load(forgetful_ko, kind="notifier").unload()
    assert watch.take_findings() != []
    assert watch.take_findings() == []


@pytest.mark.leaves_behind
def test_what_a_checkpoints_module_leaves_is_found(
    guest: Guest, run_kernel: Kernel, forgetful_ko: Path
) -> None:
    guest.load(forgetful_ko, kind="notifier")
    with guest.checkpoint().guest() as later:
        watch = look(later, run_kernel)
        later.module("forgetful").unload()
        assert [found.symbol for found in watch.take_findings()] == ["at_reboot"]


def test_a_module_that_stays_has_left_nothing(guest: Guest, run_kernel: Kernel, forgetful_ko: Path) -> None:
    watch = look(guest, run_kernel)
    guest.load(forgetful_ko, kind="timer")
    assert watch.take_findings() == []


def test_what_a_command_makes_is_not_the_modules(guest: Guest, run_kernel: Kernel, chardev_ko: Path) -> None:
    watch = look(guest, run_kernel)
    module = guest.load(chardev_ko)
    guest.run(["mkdir", "/dev/mine"]).check()
    guest.run(["sh", "-c", "mknod /dev/mine/node c 1 3; sleep 100 >/dev/null 2>&1 &"]).check()
    module.unload()
    assert watch.take_findings() == []


def run(*words: str) -> tuple[int, dict[str, Any], str]:
    done = kmod_harness("run", "--json", *words)
    return done.returncode, json.loads(done.stdout), unwrapped(done.stderr)


def test_a_run_fails_and_says_what_was_left(forgetful_ko: Path) -> None:
    status, found, said = run(str(forgetful_ko), "--param", "kind=timer")
    assert (status, found["outcome"]) == (1, "failed")
    assert found["reason"] == "forgetful left something behind after the unload"
    assert found["leftovers"][0]["symbol"] == "waiting"
    assert "points to waiting, which calls fire (forgetful.c:" in said


def test_a_run_leaves_the_search_out_when_told_to(forgetful_ko: Path) -> None:
    status, found, _ = run(str(forgetful_ko), "--param", "kind=timer", "--no-leftovers")
    assert (status, found["leftovers"]) == (0, None)


def test_a_module_that_the_command_unloads_is_looked_at(forgetful_ko: Path) -> None:
    words = ("--param", "kind=notifier", "--", "rmmod", "forgetful")
    status, found, _ = run(str(forgetful_ko), *words)
    assert (status, [one["symbol"] for one in found["leftovers"]]) == (1, ["at_reboot"])


def test_the_example_of_the_page_is_told_as_there(tmp_path: Path, run_kernel: Kernel) -> None:
    page = PAGE.read_text()
    code = re.search(r"```c\n(.*?)```", page, re.DOTALL)
    told = re.search(r"points to (pinger, which calls ping)", unwrapped(page))
    assert code is not None and told is not None
    head = "#include <linux/module.h>\n#include <linux/timer.h>\n"
    tail = 'module_init(pinger_init);\nmodule_exit(pinger_exit);\nMODULE_LICENSE("GPL");\n'
    (tmp_path / "pinger.c").write_text(f"{head}{code[1]}{tail}")
    (tmp_path / "Makefile").write_text("obj-m := pinger.o\n")
    built = kmod_harness("modules", str(tmp_path), "--kernel", run_kernel.name)
    assert built.returncode == 0, built.stderr
    status, _, said = run(str(tmp_path / "pinger.ko"))
    assert status == 1 and f"still points to {told[1]}" in said
