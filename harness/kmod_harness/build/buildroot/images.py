"""Root file systems by Buildroot: built out of tree, each symbol of the defconfig checked, cached."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kmod_harness.build.buildroot.debian import debian_inputs
from kmod_harness.build.buildroot.defconfig import find_defconfig, fragments_of, read_requests
from kmod_harness.build.buildroot.linux import linux_inputs
from kmod_harness.build.buildroot.run import BuildrootRun
from kmod_harness.build.buildroot.source_mode import DEBIAN, SourceMode, choose_sources
from kmod_harness.build.buildroot.tools import debian_tools
from kmod_harness.build.buildroot.tree import BuildrootTree, buildroot_tree, content_digest
from kmod_harness.build.cache import Cache, digest_of
from kmod_harness.build.compiler import compiler_version
from kmod_harness.build.kernel import kconfig
from kmod_harness.errors import Misuse
from kmod_harness.host.resources import agent_sources, data_directory

_KIND = "buildroot"
#: Changes when this file builds differently from the same input.
_RECIPE = "1"
DEFCONFIG = "kmod_harness_defconfig"
#: Format -> the images of it that Buildroot may leave, the one to take first.
FORMATS: Mapping[str, tuple[str, ...]] = {
    "cpio": ("rootfs.cpio.gz", "rootfs.cpio.xz", "rootfs.cpio.zst", "rootfs.cpio"),
    "ext4": ("rootfs.ext4", "rootfs.ext2"),
}


@dataclass(frozen=True)
class ImageRequest:
    """The images to build.

    buildroot: a Buildroot (see `buildroot_tree`)
    defconfig: name or path of a defconfig
    sources: `auto`, `online` or `debian`
    output: directory to build in and to leave everything in, None for a temporary one
    """

    buildroot: str = ""
    defconfig: str = DEFCONFIG
    sources: str = "auto"
    output: Path | None = None


def built_images(cache: Cache, defconfig: str = DEFCONFIG) -> Path | None:
    """Returns the directory of the images last built from a defconfig, None without; builds nothing."""
    key = cache.pointer(_pointer(defconfig))
    entry = cache.find(_KIND, key) if key else None
    return entry / "images" if entry is not None else None


def image_of(images: Path, format: str) -> Path:
    """Returns the image of a format (`cpio`, `ext4`). Raises Misuse when the build made none."""
    found = next((images / name for name in FORMATS[format] if (images / name).is_file()), None)
    if found is None:
        raise Misuse(
            f"this configuration makes no {format} image",
            evidence="\n".join(sorted(path.name for path in images.iterdir())),
            advice="cpio: BR2_TARGET_ROOTFS_CPIO=y; ext4: our post-image.sh, or BR2_TARGET_ROOTFS_EXT2=y",
        )
    return found


def kernel_of(images: Path) -> Path | None:
    """Returns the kernel that a configuration with BR2_LINUX_KERNEL left beside the images, None without."""
    kernel = images / "bzImage"
    return kernel if kernel.is_file() else None


def build_images(request: ImageRequest, cache: Cache, say: Callable[[str], None]) -> Path:
    """Returns the directory of the images, built unless the cache holds them (minutes).

    The entry's key depends on Buildroot's commit and changes, our external tree with the sources it includes,
    the defconfig and the mode of the sources. Raises BuildFailed when a symbol is dropped, a package fails or
    a download is wrong; Misuse for wrong input; MissingTool.
    """
    external = data_directory("buildroot").absolute()
    tree = buildroot_tree(request.buildroot, cache, say)
    defconfig = find_defconfig(request.defconfig, external, tree.directory)
    sources = choose_sources(request.sources, tree.directory)
    say(f"Buildroot {tree.release}, {defconfig.name}, sources: {sources.mode} ({sources.reason})")
    fragments = fragments_of(defconfig, external, sources.mode)
    requests = [item for path in fragments for item in read_requests(path)]
    inputs = _Inputs.of(sources, tree, requests, cache, say)
    parts = (tree.identity, sources.mode, inputs.identity, compiler_version(), *map(str, requests))
    key = digest_of(_RECIPE, _external_digest(external), *parts)

    def build(entry: Path) -> dict[str, object]:
        started = time.monotonic()
        output = request.output or entry / "output"
        run = BuildrootRun(tree, external, output, cache.log_path(_KIND, key), inputs.environment)
        say(f"building in {run.output} (log: {run.log})")
        for name, value in inputs.environment.items():
            say(f"  {name}={value}")
        run.log.write_bytes(b"")
        run.configure(requests)
        run.build(cache)
        images = run.take(entry)
        seconds = round(time.monotonic() - started, 1)
        say(f"built {', '.join(images)} in {seconds:.0f} s")
        return {
            "buildroot": tree.provenance(),
            "external_tree": content_digest(external),
            "defconfig": [str(path) for path in fragments],
            "sources": {"mode": sources.mode, "reason": sources.reason, "debian": dict(inputs.versions)},
            "images": images,
            "seconds": seconds,
        }

    if request.output is not None:
        if request.output.is_dir() and any(request.output.iterdir()):
            raise Misuse(f"{request.output} is not empty; a build needs an empty directory")
        # the build directory is wanted, so it is built even if its images are known
        cache.remove(_KIND, key)
    entry = cache.entry(_KIND, key, build)
    cache.point(_pointer(defconfig.name), key)
    return entry / "images"


@dataclass(frozen=True)
class _Inputs:
    """The inputs of a build.

    environment: variables that the configuration refers to
    identity: digest of the inputs
    versions: package -> version they were made from
    """

    environment: Mapping[str, str]
    identity: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(
        sources: SourceMode,
        tree: BuildrootTree,
        requests: list[kconfig.Request],
        cache: Cache,
        say: Callable[[str], None],
    ) -> _Inputs:
        environment: dict[str, str] = {}
        identity = ""
        if any("$(KMOD_HARNESS_LINUX)" in item.value for item in requests):
            linux = linux_inputs(cache)
            environment["KMOD_HARNESS_LINUX"] = str(linux)
            identity = linux.name
        if sources.mode != DEBIAN:
            return _Inputs(environment, identity)
        debian = debian_inputs(tree.directory, cache, say)
        environment["KMOD_HARNESS_DEBIAN"] = str(debian.directory)
        identity += debian.entry
        if any(item.symbol == "PACKAGE_KMOD_HARNESS_DEBIAN_TOOLS" and item.value == "y" for item in requests):
            tools = debian_tools(cache)
            environment["KMOD_HARNESS_DEBIAN_TOOLS"] = str(tools)
            identity += tools.parent.name
        return _Inputs(environment, identity, debian.versions)


def _external_digest(external: Path) -> str:
    """Returns a digest of our external tree and of the project's sources that its packages include."""
    total = hashlib.sha256(content_digest(external).encode())
    modules = data_directory("modules")
    sources = [path for path in modules.rglob("*") if path.suffix in (".c", ".h") or path.name == "Makefile"]
    for path in (*agent_sources(), *sorted(sources)):
        total.update(f"{path.name}\0".encode() + path.read_bytes())
    return total.hexdigest()


def _pointer(defconfig: str) -> str:
    return f"buildroot-{digest_of(defconfig)}"


def say_on_stderr(text: str) -> None:
    """Prints a line for the person who waits."""
    print(text, file=sys.stderr, flush=True)
