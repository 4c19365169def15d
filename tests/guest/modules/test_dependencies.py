"""Given a kernel with modules of its own, when one of a user's needs them, then they are loaded for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kmod_harness import Guest, Spec, boot, prepare
from kmod_harness.errors import DependencyNotLoaded, UnknownModule
from shared.cli_process import kmod_harness, run_json, start, unwrapped
from shared.gdb_process import gdb, waiting_guest

pytestmark = pytest.mark.needs("a kernel without modules")


@pytest.fixture
def guest_of_it(image: Path) -> Iterator[Guest]:
    with boot(prepare(Spec(kernel=str(image), ssh=False)), cold=False) as guest:
        yield guest


def test_what_a_module_needs_is_loaded_told_and_unloaded(image: Path, chardev_stats_ko: Path) -> None:
    script = 'test "$(cut -d" " -f1 /proc/modules | tr "\\n" " ")" = "chardev_stats chardev "'
    done = kmod_harness("run", "--kernel", image, chardev_stats_ko, "--", "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    assert "loaded besides: chardev (needed by chardev_stats)" in unwrapped(done.stderr)
    assert "1 module and 1 besides loaded" in unwrapped(done.stderr)


def test_the_object_tells_why_each_was_loaded_and_is_about_the_one_given(image: Path) -> None:
    status, found = run_json(
        "--kernel", image, "chardev-stats", "--param", "chardev.minors=2", "--", "ls", "/dev/chardev1"
    )
    assert (status, found["outcome"]) == (0, "passed"), found["error"]
    assert found["module"]["name"] == "chardev_stats"
    told = [
        (module["name"], module["why"], module["needed_by"], module["unloaded"])
        for module in found["modules"]
    ]
    assert told == [("chardev", "needed", "chardev_stats", True), ("chardev_stats", "given", "", True)]


def test_a_given_file_wins_over_the_kernels_own(image: Path, chardev_ko: Path) -> None:
    _, found = run_json("--kernel", image, "chardev_stats", chardev_ko)
    assert [(module["name"], module["why"]) for module in found["modules"]] == [
        ("chardev", "given"), ("chardev_stats", "given"),
    ]  # fmt: skip
    assert found["modules"][0]["path"] == str(chardev_ko)


def test_a_dependency_that_does_not_load_is_not_blamed_on_the_module(image: Path) -> None:
    status, found = run_json("--kernel", image, "faulty")
    assert (status, found["outcome"]) == (2, "setup-error")
    error = found["error"]
    assert error["message"].startswith("refused, needed by faulty, could not be loaded: ENOEXEC")
    assert "version magic" in error["evidence"] and "faulty was not tried" in error["advice"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["virtio-net"], "virtio-net is built into the kernel"),
        (["chardef"], "no module chardef"),
        (["both"], "both is an alias of 2 modules"),
        (["chardev", "the-chardev"], "chardev is given twice"),
    ],
)
def test_a_wrong_name_is_told_before_the_boot(image: Path, words: list[str], message: str) -> None:
    status, found = run_json("--kernel", image, *words)
    assert (status, found["outcome"]) == (2, "setup-error")
    assert message in found["error"]["message"]
    assert found["timings"]["boot"] is None
    if words == ["chardef"]:
        assert "chardev" in found["error"]["evidence"]


def test_what_lies_here_under_another_word_is_named(chardev_stats_ko: Path, tmp_path: Path) -> None:
    for name in ("chardev", "chardev_stats"):
        (tmp_path / f"{name}.ko").write_bytes(
            (chardev_stats_ko.parents[1] / name / f"{name}.ko").read_bytes()
        )
    _, found = run_json(tmp_path / "chardev_stats.ko")
    assert f"beside it first: {tmp_path}/chardev.ko" in found["error"]["advice"]
    done = kmod_harness("run", "chardev", cwd=tmp_path)
    assert done.returncode == 2 and "chardev.ko is a file here" in unwrapped(done.stderr)


def test_two_files_of_one_name_are_refused(image: Path, chardev_ko: Path, tmp_path: Path) -> None:
    other = tmp_path / "chardev.ko"
    other.write_bytes(chardev_ko.read_bytes())
    status, found = run_json("--kernel", image, chardev_ko, other)
    assert status == 2 and "two modules are named chardev" in found["error"]["message"]


def test_boot_and_verify_take_names_too(image: Path) -> None:
    process = start("boot", "--kernel", image, "chardev_stats")
    out, err = process.communicate("cut -d' ' -f1 /proc/modules\n", timeout=60)
    assert out.split() == ["chardev_stats", "chardev"], err
    assert "loaded besides: chardev (needed by chardev_stats)" in unwrapped(err)
    done = kmod_harness("verify", "--kernel", image, "chardev_stats", "--with-dependencies")
    assert done.returncode == 0, done.stderr
    assert "2 modules: every byte" in unwrapped(done.stderr)


@pytest.mark.needs("gdb", "vmlinux")
def test_gdb_has_the_symbols_of_what_was_loaded_besides(image: Path) -> None:
    with waiting_guest("--kernel", image, "chardev_stats", "--break", "chardev_sum_counters") as command:
        told = gdb(command, "continue", "bt 2")
    # chardev's file is compressed; its function is called by the other's init
    assert "chardev_sum_counters (" in told and "chardev_stats_init" in told
    assert "main.c:" in told and "chardev_stats.c:" in told


def test_load_takes_a_name_and_loads_what_it_needs(guest_of_it: Guest, chardev_stats_ko: Path) -> None:
    guest = guest_of_it
    with guest.load(chardev_stats_ko) as stats:
        assert [module.name for module in guest.modules] == ["chardev", "chardev_stats"]
        assert stats.file.path == chardev_stats_ko
    assert [module.name for module in guest.modules] == ["chardev"]
    with guest.load("chardev-stats"):
        assert guest.module("chardev").refcnt == 1
    with pytest.raises(UnknownModule, match="no module chardef"):
        guest.load("chardef")
    with pytest.raises(DependencyNotLoaded, match="refused, needed by faulty"):
        guest.load("faulty")
    assert guest._clean_up() == []
    assert guest.read_text("/proc/modules") == ""
