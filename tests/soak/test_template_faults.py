"""A template that is damaged, half-written or raced for never costs more than a cold boot."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kmod_harness import Prepared, Spec, prepare
from kmod_harness.build.cache import Cache, default_cache
from kmod_harness.build.image.cpio import regular, write_cpio
from kmod_harness.build.image.embedded import embedded_rootfs
from kmod_harness.errors import StateNotSaved
from kmod_harness.lifecycle.boot_template import template_of
from kmod_harness.lifecycle.checkpoint import save_checkpoint
from kmod_harness.lifecycle.saved_guest import SavedGuest, SavedGuestUnusable, restore
from kmod_harness.lifecycle.standby import GuestSource

#: The user's own cache, before a test sets another.
REAL_CACHE = default_cache().root

#: A process that asks for one restored guest and runs a program in it.
ONE_RUN = """
import sys
from kmod_harness import Spec, boot, prepare
with boot(prepare(Spec(kernel="minimal")), cold=False) as guest:
    print(guest.run(["echo", "works"]).text.strip())
"""


#: An image's /etc/inittab that writes to the disk before it starts a shell.
WRITES_AT_BOOT = """\
::sysinit:/bin/sh -c "echo booted >/dev/vda"
ttyS1::respawn:-/bin/sh
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
    with pytest.raises(SavedGuestUnusable, match="did not load"):
        restore(prepared, SavedGuest(template.directory, template.facts))


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


@pytest.mark.parametrize("file", ["ram", "state", "console.log"])
def test_a_process_killed_while_it_saves_leaves_a_sound_cache(
    prepared: Prepared, empty_cache: Path, file: str
) -> None:
    """Killed as soon as a file is there: at the boot's begin, in the middle of saving, near the end."""
    share_all_but_templates(empty_cache)
    run = start_one_run()
    while not list(empty_cache.glob(f"kmod-harness/template/*/{file}")):
        assert run.poll() is None
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    run.wait()
    if file != "console.log":
        assert default_cache().entries("template") == (), "nothing that was saved by half looks whole"
    works(prepared)
    assert works(prepared)
    assert len(default_cache().entries("template")) == 1


def test_a_layer_of_a_disk_that_changed_is_noticed(
    prepared: Prepared, empty_cache: Path, tmp_path: Path
) -> None:
    share_all_but_templates(empty_cache)
    disk, rootfs = tmp_path / "disk.img", tmp_path / "writes-at-boot.cpio.gz"
    disk.write_bytes(bytes(1 << 20))
    more = write_cpio([regular("etc/inittab", WRITES_AT_BOOT.encode())])
    rootfs.write_bytes(embedded_rootfs(Cache(REAL_CACHE)).read_bytes() + more)
    machine = prepare(replace(prepared.spec, disks=(str(disk),), rootfs=str(rootfs)))
    template = template_of(machine)
    (layer,) = template.disks[0].layers
    os.truncate(layer, layer.stat().st_size // 2)
    assert not works(machine)
    assert works(machine)


# a full disk is made by mounting a small tmpfs
@pytest.mark.needs("root")
@pytest.mark.parametrize("size", ["20m", "50m"])
def test_a_full_disk_costs_the_checkpoint_alone(prepared: Prepared, tmp_path: Path, size: str) -> None:
    """Full in the middle of the guest's stream, or of the RAM file that is made of it."""
    with (
        mounted_tmpfs(tmp_path, size),
        GuestSource(prepared, standby=False) as source,
        source.guest() as guest,
    ):
        with pytest.raises(StateNotSaved):
            save_checkpoint(prepared, guest, tmp_path)
        assert guest.run(["echo", "works"]).text == "works\n"


# a full disk is made by mounting a small tmpfs
@pytest.mark.needs("root")
def test_a_full_disk_ends_in_a_cold_boot(prepared: Prepared, empty_cache: Path) -> None:
    small = empty_cache / "kmod-harness"
    small.mkdir()
    with mounted_tmpfs(small, "20m"):
        assert not works(prepared)
        assert default_cache().entries("template") == ()


@contextlib.contextmanager
def mounted_tmpfs(directory: Path, size: str) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def share_all_but_templates(empty: Path) -> None:
    root = empty / "kmod-harness"
    root.mkdir(exist_ok=True)
    for entry in REAL_CACHE.iterdir():
        # the locks too: another process that builds an entry there must not lose it to a prune from here
        if entry.name != "template":
            (root / entry.name).symlink_to(entry)


def start_one_run() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", ONE_RUN], stdout=subprocess.PIPE, text=True)
