"""Images by Buildroot: the configuration is a contract, an image is found by what went into it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kmod_harness.build.buildroot import images as buildroot
from kmod_harness.build.buildroot import source_mode as buildroot_sources
from kmod_harness.build.buildroot.debian import DebianInputs
from kmod_harness.build.buildroot.defconfig import find_defconfig, fragments_of, read_requests
from kmod_harness.build.buildroot.images import (
    DEFCONFIG,
    ImageRequest,
    build_images,
    built_images,
    image_of,
    kernel_of,
)
from kmod_harness.build.buildroot.run import ENVIRONMENT, BuildrootRun
from kmod_harness.build.buildroot.tree import buildroot_tree
from kmod_harness.build.cache import Cache
from kmod_harness.build.kernel.kconfig import BUILDROOT, merge, parse_config
from kmod_harness.errors import BuildFailed, MissingTool, Misuse
from kmod_harness.host.resources import data_directory
from unit.build.buildroot.fake_buildroot import FAILS, IMAGES, make_buildroot, make_machine
from unit.build.fake_programs import make_programs

pytestmark = pytest.mark.needs("gcc", "make")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Buildroot asks for is there; it is not looked for on the machine that runs the tests."""
    monkeypatch.setenv("PATH", f"{make_machine(tmp_path / 'bin')}:{os.environ['PATH']}")


def build(tree: Path, cache: Cache, *, defconfig: str = DEFCONFIG, output: Path | None = None) -> Path:
    request = ImageRequest(str(tree), defconfig, "online", output)
    return build_images(request, cache, lambda text: None)


def manifest(images: Path, cache: Cache) -> dict[str, object]:
    return dict(cache.manifest("buildroot", images.parent.name) or {})


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that no download site answers; what apt would give is a directory."""
    inputs = DebianInputs(
        tmp_path / "inputs", "buildroot-debian/1", {"busybox (source, trixie)": "1:1.37.0-6"}
    )
    monkeypatch.setattr(buildroot, "debian_inputs", lambda tree, cache, say: inputs)
    monkeypatch.setattr(buildroot_sources, "_probe", lambda address: "timed out")
    monkeypatch.setattr(buildroot_sources, "_why_not_debian", lambda os_release: "")
    return inputs.directory


def test_an_image_lies_where_the_harness_looks(tmp_path: Path, cache: Cache) -> None:
    assert built_images(cache) is None

    images = build(make_buildroot(tmp_path / "buildroot"), cache)

    assert built_images(cache) == images
    assert image_of(images, "cpio").read_text() == "cpio\n"
    assert image_of(images, "ext4").read_text() == "ext4\n"


def test_the_manifest_tells_what_the_image_was_made_from(tmp_path: Path, cache: Cache) -> None:
    tree = make_buildroot(tmp_path / "buildroot")

    told = manifest(build(tree, cache), cache)

    assert told["buildroot"] == buildroot_tree(str(tree), cache, print).provenance()
    assert told["sources"] == {"mode": "online", "reason": "as asked", "debian": {}}


def test_the_same_is_not_built_twice_and_something_else_is(tmp_path: Path, cache: Cache) -> None:
    tree = make_buildroot(tmp_path / "buildroot")
    first = build(tree, cache)
    (first / "mark").touch()

    assert (build(tree, cache) / "mark").exists()

    (tree / "Config.in").write_text((tree / "Config.in").read_text() + "# mine\n")
    assert build(tree, cache) != first
    mine = tmp_path / "mine_defconfig"
    mine.write_text("BR2_x86_64=y\n")
    assert build(tree, cache, defconfig=str(mine)) != first


def test_a_symbol_that_falls_out_is_named(tmp_path: Path, cache: Cache) -> None:
    tree = make_buildroot(tmp_path / "buildroot", dropped="PACKAGE_DROPBEAR")

    with pytest.raises(BuildFailed) as error:
        build(tree, cache)

    assert error.value.message.startswith("1 of ")
    assert f"{DEFCONFIG}:" in error.value.evidence
    assert "asked for BR2_PACKAGE_DROPBEAR=y, but it is not set" in error.value.evidence


def test_a_program_that_buildroot_asks_for_and_that_is_not_here_is_named(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = buildroot_tree(str(make_buildroot(tmp_path / "buildroot")), cache, print)
    programs = make_programs(tmp_path / "bin", "bash", "gcc", "make")
    (programs / "rsync").unlink()
    monkeypatch.setenv("PATH", str(programs))

    with pytest.raises(MissingTool, match=r"are missing: rsync\n") as error:
        BuildrootRun(tree, tmp_path, tmp_path / "output", tmp_path / "log", {}).configure([])

    assert "apt-get install --no-install-recommends rsync" in error.value.advice


def test_a_package_that_fails_is_named_with_its_last_words_and_the_log(tmp_path: Path, cache: Cache) -> None:
    tree = make_buildroot(tmp_path / "buildroot", recipe=FAILS)

    with pytest.raises(BuildFailed) as error:
        build(tree, cache)

    assert error.value.message == "Buildroot failed at the package busybox-1.37.0 (built)"
    assert "libbb.c:1:1: error: no" in error.value.evidence
    log = Path(error.value.advice.removeprefix("the whole log: "))
    assert "libbb.c:1:1: error: no" in log.read_text()
    assert built_images(cache) is None


def test_a_download_that_is_not_what_buildroot_asks_for_is_refused_and_kept(
    tmp_path: Path, cache: Cache
) -> None:
    tree = make_buildroot(tmp_path / "buildroot")
    downloads = cache.entry("buildroot-downloads", "all", lambda entry: {})
    (downloads / "busybox").mkdir()
    (downloads / "busybox/busybox-1.37.0.tar.bz2").write_bytes(b"not it")

    with pytest.raises(BuildFailed) as error:
        build(tree, cache)

    assert error.value.message.startswith("busybox-1.37.0.tar.bz2 does not match Buildroot's hash")
    assert f"expected sha256 {'a' * 64}" in error.value.evidence
    kept = Path(error.value.message.rpartition(" ")[2])
    assert kept.read_bytes() == b"not it"
    build(tree, cache)


def test_a_configuration_without_an_image_says_which_symbol_makes_one(tmp_path: Path, cache: Cache) -> None:
    tree = make_buildroot(tmp_path / "buildroot", recipe="mkdir -p $(O)/images; touch $(O)/images/rootfs.tar")
    images = build(tree, cache)

    with pytest.raises(Misuse, match="makes no ext4 image"):
        image_of(images, "ext4")


def test_the_output_can_be_kept_but_nothing_is_built_into_a_used_one(tmp_path: Path, cache: Cache) -> None:
    tree = make_buildroot(tmp_path / "buildroot")
    output = tmp_path / "output"

    build(tree, cache, output=output)

    assert (output / ".config").is_file()
    downloads = cache.root / "buildroot-downloads/all"
    assert (output / ENVIRONMENT).read_text() == f"export BR2_DL_DIR={downloads}\n"
    with pytest.raises(Misuse, match="is not empty"):
        build(tree, cache, output=output)


@pytest.mark.parametrize("name", ["no_such_defconfig", "/no/such/file"])
def test_a_defconfig_that_is_nowhere_names_ours(tmp_path: Path, cache: Cache, name: str) -> None:
    with pytest.raises(Misuse) as error:
        build(make_buildroot(tmp_path / "buildroot"), cache, defconfig=name)

    assert DEFCONFIG in error.value.advice


def test_a_line_that_kconfig_would_ignore_is_an_error(tmp_path: Path, cache: Cache) -> None:
    mine = tmp_path / "mine_defconfig"
    mine.write_text("BR2_x86_64=y\nCONFIG_X=y\n")

    with pytest.raises(Misuse, match="mine_defconfig:2: expected BR2_NAME=value"):
        build(make_buildroot(tmp_path / "buildroot"), cache, defconfig=str(mine))


def test_without_a_network_it_is_built_from_debians_packages_and_says_so(
    tmp_path: Path, cache: Cache, debian: Path
) -> None:
    tree = make_buildroot(tmp_path / "buildroot", recipe=f"{IMAGES}; env >$(O)/images/environment")
    said: list[str] = []

    images = build_images(ImageRequest(str(tree)), cache, said.append)

    reason = "http://sources.invalid does not answer: timed out"
    assert said[0].endswith(f"{DEFCONFIG}, sources: debian ({reason})")
    assert f"  KMOD_HARNESS_DEBIAN={debian}" in said
    assert f"KMOD_HARNESS_DEBIAN={debian}\n" in (images / "environment").read_text()
    told = manifest(images, cache)
    assert told["sources"] == {
        "mode": "debian",
        "reason": reason,
        "debian": {"busybox (source, trixie)": "1:1.37.0-6"},
    }
    config = (images.parent / "config").read_text().splitlines()
    assert "BR2_PRIMARY_SITE_ONLY=y" in config
    assert "# BR2_TOOLCHAIN_EXTERNAL_BOOTLIN is not set" in config
    # another image than the one whose sources were downloaded
    assert build(tree, cache) != images


def test_the_tools_are_debians_own_programs_where_there_is_only_debian(tmp_path: Path) -> None:
    external = data_directory("buildroot")
    defconfig = find_defconfig("kmod_harness_tools_defconfig", external, tmp_path)

    online, debian = (
        parse_config(
            merge("", [item for path in paths for item in read_requests(path)], BUILDROOT), BUILDROOT
        )
        for paths in (fragments_of(defconfig, external, mode) for mode in ("online", "debian"))
    )

    assert (online["PACKAGE_STRACE"], "PACKAGE_KMOD_HARNESS_DEBIAN_TOOLS" in online) == ("y", False)
    assert (debian["PACKAGE_STRACE"], debian["PACKAGE_KMOD_HARNESS_DEBIAN_TOOLS"]) == ("n", "y")


def test_a_kernel_that_was_built_lies_beside_the_images(tmp_path: Path, cache: Cache) -> None:
    plain = build(make_buildroot(tmp_path / "plain"), cache)
    product = build(
        make_buildroot(tmp_path / "product", recipe=f"{IMAGES}; touch $(O)/images/bzImage"), cache
    )

    assert kernel_of(plain) is None
    assert kernel_of(product) == product / "bzImage"
