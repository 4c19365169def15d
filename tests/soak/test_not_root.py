"""Templates, standby, checkpoints and disks for a user who is not root and has a cache of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmod_harness import Spec, prepare

NOBODY = 65534
SUITE = """
import os
import pytest

@pytest.fixture(scope="module")
def pristine(machine):
    with machine.guest() as guest:
        guest.write_file("/root/prepared", b"")
        with guest.open("/dev/vda", os.O_WRONLY) as disk:
            disk.write(b"prepared")
        yield guest.checkpoint()

@pytest.mark.parametrize("again", range(3))
def test_branches(guest, again):
    assert os.getuid() != 0
    assert guest.was_restored and guest.exists("/root/prepared")
    with guest.open("/dev/vda") as disk:
        assert disk.read(8) == b"prepared"
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kh-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.mark.needs("root")
def test_another_user_runs_the_same(home: Path) -> None:
    prepared = prepare(Spec(kernel="minimal"))
    (home / "disk.img").write_bytes(bytes(1 << 20))
    (home / "test_suite.py").write_text(SUITE)
    shutil.copy(prepared.kernel.bzimage, home / "bzImage")
    shutil.copy(prepared.rootfs, home / "rootfs.cpio.gz")
    for path in (home, *home.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    options = ["--kh-kernel=bzImage", "--kh-rootfs=rootfs.cpio.gz", "--kh-disk=disk.img"]
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
            cwd=home,
            env={"PATH": os.environ["PATH"], "HOME": str(home)},
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "4 restores" in run.stdout
    assert (home / "disk.img").read_bytes() == bytes(1 << 20)
    mode = (home / ".cache" / "kmod-harness").stat().st_mode
    assert mode & 0o777 == 0o700
