"""Debian's kernel from the cache: real archives, an apt that hands them out and counts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kmod_harness.build.cache import Cache
from kmod_harness.build.image.initrd import channel_modules
from kmod_harness.build.kernel import debian_kernel
from kmod_harness.build.kernel.debian_kernel import download_debian_kernel, downloaded_debian_kernel
from kmod_harness.build.kernel.facts import kernel_facts
from kmod_harness.build.kernel.known import known_kernels, resolve_kernel
from kmod_harness.errors import BuildFailed, Misuse
from kmod_harness.host import resources
from kmod_harness.spec.spec import Spec

RELEASE = "6.1.0-9-cloud-amd64"
IMAGE, HEADERS, COMMON, KBUILD = (
    f"linux-image-{RELEASE}",
    f"linux-headers-{RELEASE}",
    "linux-headers-6.1.0-9-common",
    "linux-kbuild-6.1",
)

APT_CACHE = f"""\
#!/bin/sh
echo "$@" >>"$(dirname $0)/calls"
case "$*" in
*linux-image-cloud-amd64) echo "  Depends: {IMAGE}";;
*{HEADERS}) printf '  Depends: {COMMON}\\n  Depends: {KBUILD}\\n  Depends: linux-compiler-gcc-12-x86\\n';;
*policy*) for last; do :; done; printf '%s:\\n  Candidate: 6.1.9-1\\n' "$last";;
esac
"""
APT_GET = """\
#!/bin/sh
echo "$@" >>"$(dirname $0)/calls"
case "$*" in
indextargets*) echo "Debian|Packages|main|bookworm|http://mirror.example/debian/";;
update*) ;;
*) cp "$(dirname $0)"/*.deb .;;
esac
"""


def package(directory: Path, name: str, files: dict[str, str], links: dict[str, str]) -> None:
    tree = directory / f"{name}.tree"
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    for path, target in links.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).symlink_to(target)
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: 6.1.9-1\nArchitecture: amd64\n"
        "Maintainer: x <x@localhost>\nDescription: x\n"
    )
    archive = directory / f"{name}_6.1.9-1_amd64.deb"
    subprocess.run(["dpkg-deb", "-b", tree, archive], check=True, capture_output=True)


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Puts an apt with these packages on the path; returns how often it was called."""
    directory = tmp_path / "bin"
    directory.mkdir()
    headers = f"usr/src/{HEADERS}"
    package(
        directory,
        IMAGE,
        {
            f"boot/vmlinuz-{RELEASE}": "image",
            f"boot/config-{RELEASE}": "CONFIG_SMP=y\n",
            f"lib/modules/{RELEASE}/modules.order": "kernel/drivers/char/other.ko\n",
            f"lib/modules/{RELEASE}/modules.builtin": "kernel/drivers/tty/serial-core.ko\n",
        },
        {f"lib/modules/{RELEASE}/build": f"/{headers}"},
    )
    symvers = (
        "0x00000000\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n0x00000000\tfar\tdrivers/far\tEXPORT_SYMBOL_GPL\t\n"
    )
    package(
        directory,
        HEADERS,
        {
            # the first line is in 7.2's alone
            f"{headers}/Makefile": f"KBUILD_OUTPUT=/{headers}\ninclude /usr/src/{COMMON}/Makefile\n",
            f"{headers}/Module.symvers": symvers,
        },
        {},
    )
    package(
        directory,
        COMMON,
        {f"usr/src/{COMMON}/Makefile": "all:\n\t@cd $(KBUILD_OUTPUT) && echo common headers reached\n"},
        {},
    )
    package(directory, KBUILD, {"usr/lib/linux-kbuild-6.1/scripts/x": ""}, {})
    for name, script in (("apt-cache", APT_CACHE), ("apt-get", APT_GET)):
        (directory / name).write_text(script)
        (directory / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    lists = tmp_path / "lists"
    lists.mkdir()
    monkeypatch.setattr(debian_kernel, "APT_LISTS", lists)

    def calls() -> int:
        return len((directory / "calls").read_text().splitlines())

    return calls


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_the_kernel_and_its_headers_work_from_where_they_lie(apt: Callable[[], int], cache: Cache) -> None:
    assert downloaded_debian_kernel(cache) is None
    kernel = download_debian_kernel(cache)
    assert kernel.release == RELEASE
    assert kernel.bzimage.read_text() == "image"
    done = subprocess.run(["make", "-C", kernel.build_dir], capture_output=True, text=True, check=True)
    assert "common headers reached" in done.stdout
    assert (kernel.modules_dir / "build").resolve() == kernel.build_dir.resolve()
    (entry,) = cache.entries("debian-kernel")
    assert entry.manifest["packages"] == dict.fromkeys((IMAGE, HEADERS, COMMON, KBUILD), "6.1.9-1")


def test_apt_is_asked_again_only_when_its_lists_changed(
    apt: Callable[[], int], cache: Cache, tmp_path: Path
) -> None:
    kernel = download_debian_kernel(cache)
    asked = apt()
    assert download_debian_kernel(cache) == downloaded_debian_kernel(cache) == kernel
    assert apt() == asked
    (tmp_path / "lists/new").write_text("")
    assert download_debian_kernel(cache) == kernel
    assert apt() == asked + 4  # three questions for dependencies, one for the version; no download
    assert download_debian_kernel(cache) == kernel
    assert apt() == asked + 4


def test_headers_of_another_form_are_named(apt: Callable[[], int], cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "bin" / f"{HEADERS}.tree" / f"usr/src/{HEADERS}/Makefile").write_text("all:\n")
    tree, archive = tmp_path / "bin" / f"{HEADERS}.tree", tmp_path / "bin" / f"{HEADERS}_6.1.9-1_amd64.deb"
    subprocess.run(["dpkg-deb", "-b", tree, archive], check=True, capture_output=True)
    with pytest.raises(BuildFailed, match="have an unknown form"):
        download_debian_kernel(cache)
    assert downloaded_debian_kernel(cache) is None


def test_the_kernel_before_a_point_update_stays_listed_by_its_path(
    apt: Callable[[], int], cache: Cache, tmp_path: Path
) -> None:
    old = download_debian_kernel(cache)
    script = tmp_path / "bin/apt-cache"
    script.write_text(script.read_text().replace("Candidate: 6.1.9-1", "Candidate: 6.1.9-2"))
    (tmp_path / "lists/new").write_text("")
    new = download_debian_kernel(cache)
    names = {kernel.bzimage: kernel.name for kernel in known_kernels(cache=cache)}
    assert names[new.bzimage] == "debian"
    assert names[old.bzimage] == str(old.bzimage)


def test_another_suites_kernel_comes_from_lists_of_its_own(
    apt: Callable[[], int], cache: Cache, tmp_path: Path
) -> None:
    with pytest.raises(Misuse, match="kernel build debian@trixie"):
        resolve_kernel(Spec(kernel="debian@trixie"), cache=cache)
    kernel = resolve_kernel(Spec(kernel="debian@trixie"), build=True, cache=cache)
    assert kernel.name == "debian@trixie"
    assert resolve_kernel(Spec(kernel="debian@trixie"), cache=cache) == kernel
    assert downloaded_debian_kernel(cache) is None
    asked = (tmp_path / "bin/calls").read_text().splitlines()
    (update,) = [words for words in asked if words.startswith("update ")]
    assert "Dir::Etc::sourcelist=" in update
    assert all(
        "Dir::State::lists=" in words for words in asked if " download " in words or "depends" in words
    )


def test_from_7_on_the_image_is_a_package_of_its_own(
    apt: Callable[[], int], cache: Cache, tmp_path: Path
) -> None:
    """linux-image-RELEASE then only depends on it, and it has the kernel among the modules."""
    directory = tmp_path / "bin"
    (directory / f"{IMAGE}_6.1.9-1_amd64.deb").unlink()
    modules = f"usr/lib/modules/{RELEASE}"
    package(directory, f"linux-binary-{RELEASE}", {f"{modules}/vmlinuz": "image"}, {})
    package(directory, f"linux-modules-{RELEASE}", {f"{modules}/modules.order": ""}, {})
    package(directory, f"linux-base-{RELEASE}", {f"{modules}/config": "CONFIG_SMP=y\n"}, {})
    parts = "".join(f"  Depends: linux-{part}-{RELEASE}\\n" for part in ("binary", "modules", "base"))
    script = directory / "apt-cache"
    answer = f"*{IMAGE}) printf '{parts}';;\n"
    script.write_text(script.read_text().replace("*linux-image-cloud", f"{answer}*linux-image-cloud"))
    kernel = download_debian_kernel(cache)
    assert kernel.bzimage.read_text() == "image"
    assert kernel.release == RELEASE
    assert kernel.config is not None and kernel.config.read_text() == "CONFIG_SMP=y\n"
    assert kernel.modules_dir is not None and kernel.build_dir is not None


def test_what_is_known_of_it_before_a_module_is_loaded(apt: Callable[[], int], cache: Cache) -> None:
    kernel = download_debian_kernel(cache)
    facts = kernel_facts(kernel)
    assert facts.vermagic == f"{RELEASE} SMP "
    assert facts.exported == {"printk": False}
    assert facts.present == {"serial_core"}
    assert channel_modules(kernel, cache=cache) == ()
    assert channel_modules(kernel, cache=cache) == ()


def test_data_is_found_in_the_checkout_and_in_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resources.minimal_config().is_file()
    package_directory = tmp_path / "site-packages" / "kmod_harness"
    (package_directory / "data/kernel-config").mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", package_directory)
    assert resources.checkout() is None
    assert resources.data_directory("kernel-config") == package_directory / "data/kernel-config"
    with pytest.raises(Misuse, match="no modules directory"):
        resources.data_directory("modules")
