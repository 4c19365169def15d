"""A distribution's kernel, wherever its files lie: on a machine, in a directory, in packages."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kmod_harness.build.cache import Cache
from kmod_harness.build.kernel.known import kernel_at, known_kernels
from kmod_harness.errors import BuildFailed, Misuse
from unit.build.kernel.kernel_files import bzimage

RELEASE = "6.14.0-9-generic"
HEADERS = f"usr/src/linux-headers-{RELEASE}"
MODULES = f"lib/modules/{RELEASE}"


def put(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(bzimage(RELEASE) if "vmlinuz" in file else b"")
    return root


def package(directory: Path, name: str, *files: str, version: str = "6.14.0-9") -> Path:
    tree = put(directory / f"{name}.tree", *files)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
        "Maintainer: x <x@localhost>\nDescription: x\n"
    )
    archive = directory / f"{name}_{version}_amd64.deb"
    subprocess.run(["dpkg-deb", "-b", tree, archive], check=True, capture_output=True)
    return archive


@pytest.mark.parametrize(
    ("image", "beside"),
    [
        (f"boot/vmlinuz-{RELEASE}", f"boot/config-{RELEASE}"),
        (f"usr/{MODULES}/vmlinuz", f"usr/{MODULES}/config"),
    ],
)
def test_an_image_comes_with_what_its_packages_put_around_it(tmp_path: Path, image: str, beside: str) -> None:
    root = put(
        tmp_path,
        image,
        beside,
        f"usr/{MODULES}/modules.order",
        f"{HEADERS}/Makefile",
        f"{HEADERS}/Module.symvers",
    )
    for given in (root / image, root):
        kernel = kernel_at(given)
        assert (kernel.name, kernel.release) == (str(given), RELEASE)
        assert kernel.config == root / beside
        assert kernel.modules_dir == root / "usr" / MODULES
        assert kernel.build_dir == root / HEADERS
        assert kernel.symvers == root / HEADERS / "Module.symvers"


def test_an_image_alone_is_a_kernel_without_the_rest(tmp_path: Path) -> None:
    kernel = kernel_at(put(tmp_path, "vmlinuz") / "vmlinuz")
    assert (kernel.release, kernel.config, kernel.modules_dir, kernel.build_dir) == (
        RELEASE,
        None,
        None,
        None,
    )


def test_a_package_is_unpacked_once_with_those_of_its_version_beside_it(tmp_path: Path) -> None:
    image = package(tmp_path, f"linux-image-unsigned-{RELEASE}", f"boot/vmlinuz-{RELEASE}")
    package(tmp_path, f"linux-modules-{RELEASE}", f"{MODULES}/modules.order", f"boot/config-{RELEASE}")
    package(tmp_path, f"linux-headers-{RELEASE}", f"{HEADERS}/Makefile")
    package(
        tmp_path, "linux-modules-6.14.0-8-generic", "lib/modules/6.14.0-8-generic/modules.order", version="8"
    )
    cache = Cache(tmp_path / "cache")
    kernel = kernel_at(image, cache)
    assert (kernel.name, kernel.release) == (str(image), RELEASE)
    assert kernel.modules_dir is not None and kernel.build_dir is not None and kernel.config is not None
    assert kernel_at(image, cache) == kernel
    (entry,) = cache.entries("unpacked-kernel")
    assert not (entry.path / "tree/lib/modules/6.14.0-8-generic").exists()
    # its modules find it without being told where the package lies
    listed = {one.name: one.release for one in known_kernels(cache=cache)}
    assert listed[str(kernel.bzimage)] == RELEASE


def test_what_holds_no_kernel_or_several_is_told(tmp_path: Path) -> None:
    headers = package(tmp_path, f"linux-headers-{RELEASE}", f"{HEADERS}/Makefile")
    with pytest.raises(Misuse, match="holds 0 kernel images"):
        kernel_at(headers, Cache(tmp_path / "cache"))
    (tmp_path / "broken.deb").write_bytes(b"!<arch>\n")
    with pytest.raises(BuildFailed, match=r"broken.deb cannot be unpacked"):
        kernel_at(tmp_path / "broken.deb", Cache(tmp_path / "cache"))
    with pytest.raises(Misuse, match="holds 2 kernel images"):
        kernel_at(put(tmp_path / "two", "boot/vmlinuz-1", "boot/vmlinuz-2"))
