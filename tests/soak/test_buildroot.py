"""A real Buildroot, when BUILDROOT names one: images built, compared, booted.

    make soak BUILDROOT=~/buildroot      (or BUILDROOT=... pytest tests/soak/test_buildroot.py)

A build takes 3 to 5 minutes on 2 quiet processors, one with a kernel 20. What the machine's own configuration
of a network gives decides where sources come from; what that needs is fetched once.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kmod_harness.build.buildroot.defconfig import find_defconfig, fragments_of, read_requests
from kmod_harness.build.buildroot.downloads import expected_hashes
from kmod_harness.build.buildroot.images import DEFCONFIG, ImageRequest, build_images, image_of, kernel_of
from kmod_harness.build.buildroot.run import ENVIRONMENT, BuildrootRun
from kmod_harness.build.buildroot.tree import buildroot_tree
from kmod_harness.build.cache import default_cache, file_digest
from kmod_harness.errors import BuildFailed
from kmod_harness.lifecycle.boot import boot
from kmod_harness.lifecycle.prepare import prepare
from kmod_harness.spec.spec import Spec
from shared.checkout import ROOT
from shared.cli_process import COMMAND

EXTERNAL = ROOT / "buildroot"
DEFCONFIGS = sorted(path.name for path in (EXTERNAL / "configs").glob("*_defconfig"))
BUILDROOT = os.environ.get("BUILDROOT", "")

pytestmark = [
    pytest.mark.needs("a Buildroot tree"),
    pytest.mark.timeout(7200),
]


def say(text: str) -> None:
    print(text)


@pytest.fixture(scope="module")
def images() -> Path:
    return build_images(ImageRequest(BUILDROOT), default_cache(), say)


def configured(defconfig: str, mode: str, output: Path) -> BuildrootRun:
    """Returns a run whose configuration was accepted, every symbol; what it would build from is empty."""
    tree = buildroot_tree(BUILDROOT, default_cache(), say)
    names = ("KMOD_HARNESS_DEBIAN", "KMOD_HARNESS_DEBIAN_TOOLS", "KMOD_HARNESS_LINUX")
    nothing = output.with_name("nothing")
    (nothing / "patches").mkdir(parents=True)
    environment = {name: str(nothing) for name in names}
    run = BuildrootRun(tree, EXTERNAL, output, output.with_suffix(".log"), environment)
    run.log.touch()
    fragments = fragments_of(find_defconfig(defconfig, EXTERNAL, tree.directory), EXTERNAL, mode)
    run.configure([request for path in fragments for request in read_requests(path)])
    return run


@pytest.mark.parametrize("mode", ["online", "debian"])
@pytest.mark.parametrize("defconfig", DEFCONFIGS)
def test_each_configuration_of_ours_is_accepted_in_each_mode(
    tmp_path: Path, defconfig: str, mode: str
) -> None:
    run = configured(defconfig, mode, tmp_path / "output")

    config = (run.output / ".config").read_text()
    assert ("BR2_TOOLCHAIN_EXTERNAL_BOOTLIN=y" in config) is (mode == "online")
    assert ("BR2_PRIMARY_SITE_ONLY=y" in config) is (mode == "debian")


@pytest.mark.parametrize("defconfig", DEFCONFIGS)
def test_all_that_the_mode_online_downloads_has_a_hash(tmp_path: Path, defconfig: str) -> None:
    run = configured(defconfig, "online", tmp_path / "output")
    words = ["make", "-s", "-C", str(run.tree.directory), f"O={run.output}", "external-deps"]

    done = subprocess.run(
        words, env={**os.environ, **run.environment}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    # what comes from this project is no download
    files = {name for name in done.stdout.split() if not name.startswith("file://")}
    assert any(name.endswith(".tar.bz2") for name in files)
    # Debian's kernel has its hash from the harness (buildroot_linux.py)
    assert files - {"linux-source.tar.xz"} <= set(expected_hashes(run.tree.directory))


@pytest.mark.parametrize(("format", "kernel"), [("cpio", "minimal"), ("ext4", "debian")])
def test_an_image_boots_and_takes_a_module(images: Path, tmp_path: Path, format: str, kernel: str) -> None:
    prepared = prepare(Spec(kernel=kernel, rootfs=str(image_of(images, format))), build=True)
    modules = ["modules", "--kernel", kernel, "--out", str(tmp_path / "modules"), str(ROOT / "modules")]
    subprocess.run([*COMMAND, *modules], check=True)

    with boot(prepared) as guest:
        assert "NAME=Buildroot" in guest.read_text("/etc/os-release")
        assert guest.run(["sh", "-c", "echo $((6 * 7))"]).text == "42\n"
        assert guest.shell.run("tty").output.strip() == "/dev/ttyS1"
        assert guest.ssh.run(["busybox", "true"]).status == 0
        with guest.load(tmp_path / "modules/chardev/chardev.ko"):
            guest.write_file("/dev/chardev0", b"taken")
            assert guest.read_text("/dev/chardev0") == "taken"


@pytest.fixture(scope="module")
def first_digests(images: Path) -> dict[str, str]:
    return digests(images)


@pytest.fixture(scope="module")
def output(first_digests: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a second build, as it was left."""
    output = tmp_path_factory.mktemp("second") / "output"
    build_images(ImageRequest(BUILDROOT, output=output), default_cache(), say)
    return output


def digests(images: Path) -> dict[str, str]:
    # the uncompressed archive is left out of the cache
    return {path.name: file_digest(path) for path in images.iterdir() if path.name != "rootfs.cpio"}


def test_a_second_build_elsewhere_gives_the_same_bytes(first_digests: dict[str, str], output: Path) -> None:
    assert digests(output / "images") == first_digests


def test_legal_information_is_made_from_what_was_downloaded(output: Path) -> None:
    command = f'. "{output}/{ENVIRONMENT}" && make -s -C "{output}" legal-info'
    done = subprocess.run(["sh", "-ec", command], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    for kind, package in (("sources", "busybox"), ("sources", "dropbear"), ("licenses", "busybox")):
        assert list((output / "legal-info" / kind).glob(f"{package}-*/*")), (kind, package)
    checked = subprocess.run(
        ["sha256sum", "--check", "--quiet", "legal-info.sha256"], cwd=output / "legal-info", check=False
    )
    assert checked.returncode == 0


def test_the_tools_image_has_what_module_authors_ask_for() -> None:
    images = build_images(ImageRequest(BUILDROOT, "kmod_harness_tools_defconfig"), default_cache(), say)

    with boot(prepare(Spec(kernel="minimal", rootfs=str(image_of(images, "cpio"))), build=True)) as guest:
        assert guest.run(["python3", "-c", "import ctypes, json, struct; print(6 * 7)"]).text == "42\n"
        traced = guest.run(["strace", "-e", "trace=write", "-o", "/tmp/trace", "echo", "traced"])
        assert traced.text == "traced\n"
        assert 'write(1, "traced\\n", 7)' in guest.read_text("/tmp/trace")
        assert "gdbserver" in guest.run(["gdbserver", "--version"]).text
        assert guest.run(["readlink", "-f", "/sbin/modprobe"]).text.strip().endswith("/kmod")


@pytest.fixture(scope="module")
def product() -> Path:
    return build_images(ImageRequest(BUILDROOT, "kmod_harness_product_defconfig"), default_cache(), say)


def test_a_products_kernel_boots_and_its_image_holds_the_module(product: Path) -> None:
    spec = Spec(kernel=str(kernel_of(product)), rootfs=str(image_of(product, "cpio")))

    with boot(prepare(spec)) as guest:
        mark = guest.kernel_log.mark()
        assert guest.run(["modprobe", "chardev", "minors=2"]).status == 0
        with guest.open("/dev/chardev1", os.O_RDWR) as device:
            device.write(b"shipped")
            device.lseek(0)
            assert device.read(64) == b"shipped"
        assert guest.run(["modprobe", "-r", "chardev"]).status == 0
        guest.kernel_log.sync(guest.syscaller)
        log = guest.kernel_log.text_since(mark)
    assert re.search(r"chardev: loaded: major \d+, 2 minors", log)
    assert "chardev: unloaded" in log


def test_a_product_is_run_and_judged_by_the_same_commands(product: Path, tmp_path: Path) -> None:
    suite = tmp_path / "test_product.py"
    suite.write_text(
        "def test_the_shipped_module(guest):\n"
        "    assert guest.shell.run('modprobe chardev && echo shipped >/dev/chardev0').status == 0\n"
        "    assert guest.read_text('/dev/chardev0') == 'shipped\\n'\n"
    )
    kernel, image = str(kernel_of(product)), str(image_of(product, "cpio"))
    script = "modprobe chardev && echo shipped >/dev/chardev0 && modprobe -r chardev"
    machine = ["--kernel", kernel, "--rootfs", image]

    run = subprocess.run([*COMMAND, "run", *machine, "--", "sh", "-c", script], check=False)
    oops = subprocess.run(
        [*COMMAND, "run", "--no-bundle", *machine, "--", "sh", "-c", "echo c >/proc/sysrq-trigger"],
        capture_output=True,
        text=True,
        check=False,
    )
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(suite), f"--kh-kernel={kernel}", f"--kh-rootfs={image}"],
        cwd=tmp_path,
        check=False,
    )

    assert (run.returncode, tests.returncode) == (0, 0)
    # the kernel's own symbols lie beside it
    assert oops.returncode == 4 and "drivers/tty/sysrq.c:" in oops.stderr


def test_a_symbol_that_buildroot_does_not_know_is_named(tmp_path: Path) -> None:
    mine = tmp_path / "mine_defconfig"
    mine.write_text((EXTERNAL / "configs" / DEFCONFIG).read_text() + "BR2_PACKAGE_NO_SUCH_THING=y\n")

    with pytest.raises(BuildFailed) as error:
        build_images(ImageRequest(BUILDROOT, str(mine)), default_cache(), say)

    assert "asked for BR2_PACKAGE_NO_SUCH_THING=y, but it is not set" in error.value.evidence


@pytest.mark.needs("python-magic")
def test_buildroot_s_own_reviewers_find_nothing() -> None:
    tree = buildroot_tree(BUILDROOT, default_cache(), say).directory
    names = [str(path.relative_to(EXTERNAL)) for path in EXTERNAL.rglob("*") if path.is_file()]

    done = subprocess.run(
        [sys.executable, str(tree / "utils/check-package"), "-b", *names],
        cwd=EXTERNAL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
