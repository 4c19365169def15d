"""A template that is damaged, half-written or raced for never costs more than a cold boot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness import Prepared, Spec, prepare
from kmod_harness.boot_template import template_of
from kmod_harness.build.cache import default_cache
from kmod_harness.standby import GuestSource
from kmod_harness.template import Template, TemplateUnusable, restore

#: The user's own cache, before a test sets another.
REAL_CACHE = default_cache().root

#: A process that asks for one restored guest and runs a program in it.
ONE_RUN = """
import sys
from kmod_harness import Spec, boot, prepare
with boot(prepare(Spec(kernel="minimal")), cold=False) as guest:
    print(guest.run(["echo", "works"]).text.strip())
"""


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(Spec(kernel="minimal"))


@pytest.fixture
def empty_cache(prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without templates; what was prepared before lies in the user's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def works(prepared: Prepared) -> bool:
    """True when a guest is had and was restored; False when it had to be booted."""
    with GuestSource(prepared, standby=False) as source, source.guest() as guest:
        assert guest.run(["echo", "works"]).text == "works\n"
        return guest.was_restored


@pytest.mark.parametrize("name", ["ram", "state", "console.log"])
def test_flipped_bytes_are_noticed(prepared: Prepared, empty_cache: Path, name: str) -> None:
    path = template_of(prepared).directory / name
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1) or b"\0"
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0xFF]))
    assert not works(prepared)
    assert works(prepared)


def test_a_state_that_does_not_fit_is_no_qemu_death(prepared: Prepared, empty_cache: Path) -> None:
    # given a state whose checksum is right and whose content QEMU refuses
    template = template_of(prepared)
    (template.directory / "state").write_bytes(b"QEVM and nothing a QEMU could load")
    with pytest.raises(TemplateUnusable, match="did not load"):
        restore(prepared, Template(template.directory, template.earlier))


def test_another_qemu_has_a_template_of_its_own(
    prepared: Prepared, empty_cache: Path, tmp_path: Path
) -> None:
    mine = template_of(prepared)
    other = tmp_path / "qemu-system-x86_64-other"
    other.symlink_to(prepared.qemu)
    assert template_of(replace(prepared, qemu=str(other))).directory != mine.directory


def test_two_processes_that_save_the_same_machine_both_work(empty_cache: Path) -> None:
    share_all_but_templates(empty_cache)
    runs = [start_one_run() for _ in range(2)]
    assert [run.communicate(timeout=120)[0].strip() for run in runs] == ["works", "works"]
    assert len(default_cache().entries("template")) == 1


@pytest.mark.parametrize("seconds", [0.5, 1.2, 1.9])
def test_a_process_killed_while_it_saves_leaves_a_sound_cache(
    prepared: Prepared, empty_cache: Path, seconds: float
) -> None:
    share_all_but_templates(empty_cache)
    run = start_one_run()
    time.sleep(seconds)  # the moment of death is the point
    run.send_signal(signal.SIGKILL)
    run.wait()
    works(prepared)
    assert works(prepared)


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk is made by mounting a small tmpfs: root only")
def test_a_full_disk_ends_in_a_cold_boot(prepared: Prepared, empty_cache: Path) -> None:
    small = empty_cache / "kmod-harness"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(small)], check=True)
    try:
        assert not works(prepared)
        assert default_cache().entries("template") == ()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def share_all_but_templates(empty: Path) -> None:
    root = empty / "kmod-harness"
    root.mkdir(exist_ok=True)
    for entry in REAL_CACHE.iterdir():
        if entry.name not in ("template", "locks"):
            (root / entry.name).symlink_to(entry)


def start_one_run() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", ONE_RUN], stdout=subprocess.PIPE, text=True)
