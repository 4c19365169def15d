"""A real Buildroot, when BUILDROOT names one: images built, compared, booted.

    make soak BUILDROOT=~/buildroot      (or BUILDROOT=... pytest tests/soak/test_buildroot.py)

Each build takes 3 minutes on 2 quiet processors, and what it needs from a network only once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kmod_harness.build.buildroot import DEFCONFIG, ImageRequest, build_images, image_of
from kmod_harness.build.buildroot_tree import buildroot_tree
from kmod_harness.build.cache import default_cache, file_digest
from kmod_harness.errors import BuildFailed
from kmod_harness.spec import Spec
from kmod_harness.start import boot, prepare

ROOT = Path(__file__).parents[2]
BUILDROOT = os.environ.get("BUILDROOT", "")

pytestmark = [
    pytest.mark.skipif(not BUILDROOT, reason="needs a Buildroot tree: BUILDROOT= names none"),
    pytest.mark.timeout(7200),
]


def say(text: str) -> None:
    print(text)


@pytest.fixture(scope="module")
def images() -> Path:
    return build_images(ImageRequest(BUILDROOT), default_cache(), say)


@pytest.mark.parametrize(("format", "kernel"), [("cpio", "minimal"), ("ext4", "debian")])
def test_an_image_boots_and_takes_a_module(images: Path, format: str, kernel: str) -> None:
    spec = Spec(kernel=kernel, rootfs=str(image_of(images, format)))

    with boot(prepare(spec, build=True)) as guest:
        assert "NAME=Buildroot" in guest.read_text("/etc/os-release")
        assert guest.run(["sh", "-c", "echo $((6 * 7))"]).text == "42\n"
        assert guest.shell.run("tty").output.strip() == "/dev/ttyS1"
        assert guest.ssh.run(["busybox", "true"]).status == 0


def test_a_second_build_elsewhere_gives_the_same_bytes(images: Path, tmp_path: Path) -> None:
    first = {path.name: file_digest(path) for path in images.iterdir() if path.is_file()}

    again = build_images(ImageRequest(BUILDROOT, output=tmp_path / "output"), default_cache(), say)

    assert {path.name: file_digest(path) for path in again.iterdir() if path.is_file()} == first


def test_a_symbol_that_buildroot_does_not_know_is_named(tmp_path: Path) -> None:
    mine = tmp_path / "mine_defconfig"
    mine.write_text((ROOT / "buildroot/configs" / DEFCONFIG).read_text() + "BR2_PACKAGE_NO_SUCH_THING=y\n")

    with pytest.raises(BuildFailed) as error:
        build_images(ImageRequest(BUILDROOT, str(mine)), default_cache(), say)

    assert "asked for BR2_PACKAGE_NO_SUCH_THING=y, but it is not set" in error.value.evidence


def test_buildroot_s_own_reviewers_find_nothing() -> None:
    pytest.importorskip("magic", reason="check-package needs python-magic")
    tree = buildroot_tree(BUILDROOT, default_cache(), say).directory
    files = [str(path.relative_to(ROOT / "buildroot")) for path in (ROOT / "buildroot").rglob("*")]
    names = [name for name in files if (ROOT / "buildroot" / name).is_file()]

    done = subprocess.run(
        [sys.executable, str(tree / "utils/check-package"), "-b", *names],
        cwd=ROOT / "buildroot",
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
