"""Root file systems by Buildroot: out of tree, every symbol of the defconfig checked, kept in the cache."""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import BuildFailed, Misuse
from . import kconfig
from .buildroot_debian import debian_inputs
from .buildroot_downloads import expected_hashes, refuse_wrong_downloads
from .buildroot_failure import failure_in, step_of
from .buildroot_linux import linux_inputs
from .buildroot_sources import DEBIAN, Sources, choose_sources
from .buildroot_tools import debian_tools
from .buildroot_tree import BuildrootTree, buildroot_tree, content_digest
from .cache import Cache, digest_of, file_digest
from .compiler import compiler_version
from .kbuild import Progress, require_tools, run_make
from .resources import agent_sources, data_directory

_KIND = "buildroot"
_DOWNLOADS = ("buildroot-downloads", "all")
#: Changes when this file builds differently from the same input.
_RECIPE = "1"
DEFCONFIG = "kmod_harness_defconfig"
#: Format -> the images of it that Buildroot may leave, the one to take first.
FORMATS: Mapping[str, tuple[str, ...]] = {
    "cpio": ("rootfs.cpio.gz", "rootfs.cpio.xz", "rootfs.cpio.zst", "rootfs.cpio"),
    "ext4": ("rootfs.ext4", "rootfs.ext2"),
}
#: Programs that Buildroot asks for itself (support/dependencies, 2026.02), and our post-image.sh.
_TOOLS = {
    "bash": "bash",
    "bc": "bc",
    "bzip2": "bzip2",
    "cpio": "cpio",
    "file": "file",
    "gcc": "gcc",
    "make": "make",
    "patch": "patch",
    "perl": "perl",
    "rsync": "rsync",
    "unzip": "unzip",
    "wget": "wget",
    "which": "debianutils",
}


@dataclass(frozen=True)
class ImageRequest:
    """What to build: a Buildroot (see `buildroot_tree`), a defconfig by name or path, sources by mode.

    output: where to build and leave everything, None for a directory that goes away.
    """

    buildroot: str = ""
    defconfig: str = DEFCONFIG
    sources: str = "auto"
    output: Path | None = None


def built_images(cache: Cache, defconfig: str = DEFCONFIG) -> Path | None:
    """Returns the directory of the images last built from one of our defconfigs, or None; runs nothing."""
    key = cache.pointer(_pointer(defconfig))
    entry = cache.find(_KIND, key) if key else None
    return entry / "images" if entry is not None else None


def image_of(images: Path, format: str) -> Path:
    """Returns the image of a format (`cpio`, `ext4`). Raises Misuse when the build left none."""
    found = next((images / name for name in FORMATS[format] if (images / name).is_file()), None)
    if found is None:
        raise Misuse(
            f"this configuration makes no {format} image",
            evidence="\n".join(sorted(path.name for path in images.iterdir())),
            advice="cpio: BR2_TARGET_ROOTFS_CPIO=y; ext4: our post-image.sh, or BR2_TARGET_ROOTFS_EXT2=y",
        )
    return found


def build_images(request: ImageRequest, cache: Cache, say: Callable[[str], None]) -> Path:
    """Returns the directory of the images, built if the cache doesn't hold them (minutes).

    The entry's name stands for Buildroot's commit and changes, our external tree with the sources it
    takes in, the defconfig and the sources' mode. Raises BuildFailed when a symbol falls out, a package
    fails or a download is wrong; Misuse for wrong input; MissingTool.
    """
    external = data_directory("buildroot").absolute()
    tree = buildroot_tree(request.buildroot, cache, say)
    defconfig = _defconfig(request.defconfig, external, tree.directory)
    sources = choose_sources(request.sources, tree.directory)
    say(f"Buildroot {tree.release}, {defconfig.name}, sources: {sources.mode} ({sources.reason})")
    fragments = _fragments(defconfig, external, sources.mode)
    requests = [item for path in fragments for item in _requests(path)]
    inputs = _Inputs.of(sources, tree, requests, cache, say)
    parts = (tree.identity, sources.mode, inputs.identity, compiler_version(), *map(str, requests))
    key = digest_of(_RECIPE, _external_digest(external), *parts)

    def build(entry: Path) -> dict[str, object]:
        started = time.monotonic()
        run = _Run(tree, external, request.output or entry / "output", cache.log_path(_KIND, key), inputs)
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
            raise Misuse(f"{request.output} is not empty: what is built there must come from nothing else")
        # somebody wants to look at the build itself: it is made, though its images may be known
        cache.remove(_KIND, key)
    entry = cache.entry(_KIND, key, build)
    cache.point(_pointer(defconfig.name), key)
    return entry / "images"


@dataclass(frozen=True)
class _Inputs:
    """environment: what the configuration refers to. identity, versions: what the inputs were made from."""

    environment: Mapping[str, str]
    identity: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(
        sources: Sources,
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


@dataclass(frozen=True)
class _Run:
    """One Buildroot output directory."""

    tree: BuildrootTree
    external: Path
    output: Path
    log: Path
    inputs: _Inputs

    def configure(self, requests: list[kconfig.Request]) -> None:
        """Writes `.config`. Raises BuildFailed naming every request that did not survive."""
        require_tools(_TOOLS)
        self.output.mkdir(parents=True, exist_ok=True)
        wanted = self.output / "kmod_harness_merged_defconfig"
        wanted.write_text(kconfig.merge("", requests, kconfig.BUILDROOT))
        self._make([f"BR2_DEFCONFIG={wanted}", "defconfig"], what="Buildroot's configuration")
        config = (self.output / ".config").read_text()
        lost = kconfig.dropped(requests, kconfig.parse_config(config, kconfig.BUILDROOT))
        if lost:
            raise BuildFailed(
                f"{len(lost)} of {len(requests)} requested symbols did not survive Buildroot's configuration",
                evidence="\n".join(map(str, lost)),
                advice="ask for what they depend on too (make menuconfig, `/` shows it), or leave them out",
            )

    def build(self, cache: Cache) -> None:
        """Builds everything. Raises BuildFailed with the package that failed, its last lines and the log."""
        downloads = cache.entry(*_DOWNLOADS, lambda entry: {})
        refuse_wrong_downloads(downloads, expected_hashes(self.tree.directory), cache)
        start = self.log.stat().st_size
        self._offer_kernel(downloads)
        try:
            self._make([f"BR2_DL_DIR={downloads}"], what="Buildroot", progress=_Steps())
        except BuildFailed as error:
            with self.log.open("rb") as file:
                file.seek(start)
                failure = failure_in(file.read().decode(errors="replace"))
            raise BuildFailed(
                str(failure), evidence="\n".join(failure.lines), advice=f"the whole log: {self.log}"
            ) from error
        finally:
            cache.measure(*_DOWNLOADS)

    def _offer_kernel(self, downloads: Path) -> None:
        """Puts the kernel's tarball where downloads go: a mirror of our own excludes all other places."""
        given = self.inputs.environment.get("KMOD_HARNESS_LINUX")
        for tarball in Path(given).glob("*.tar.xz") if given else ():
            (downloads / "linux").mkdir(exist_ok=True)
            shutil.copyfile(tarball, downloads / "linux" / tarball.name)

    def take(self, entry: Path) -> dict[str, object]:
        """Moves what is to be kept into the entry; returns the images' sizes and hashes."""
        shutil.copytree(self.output / "images", entry / "images", symlinks=True)
        # the uncompressed archive beside the compressed one: 2 MB each guest would not read
        if (entry / "images/rootfs.cpio.gz").is_file():
            (entry / "images/rootfs.cpio").unlink(missing_ok=True)
        shutil.copy2(self.output / ".config", entry / "config")
        (entry / "build.log").write_bytes(self.log.read_bytes())
        if self.output.is_relative_to(entry):
            shutil.rmtree(self.output)
        return {
            path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)}
            for path in sorted((entry / "images").iterdir())
            if path.is_file()
        }

    def _make(self, arguments: list[str], *, what: str, progress: Progress | None = None) -> None:
        run_make(
            ["-C", str(self.tree.directory), f"O={self.output}", f"BR2_EXTERNAL={self.external}", *arguments],
            log=self.log,
            what=what,
            environment=self.inputs.environment,
            progress=progress,
        )


class _Steps(Progress):
    """Shows Buildroot's steps: a line redrawn on a terminal, else one for each package."""

    _package = ""

    def line(self, text: str) -> None:
        step = step_of(text)
        if not step:
            return
        if self.stream.isatty():
            width = shutil.get_terminal_size().columns - 1
            self._say(f"\r\x1b[K{f'  {step}'[:width]}", time.monotonic())
        elif step.split()[0] != self._package:
            self._package = step.split()[0]
            self._say(f"  {self._package}\n", time.monotonic())


def _defconfig(name: str, external: Path, buildroot: Path) -> Path:
    """Returns the file: a path, or a name in our external tree or in Buildroot's."""
    candidates = (Path(name), external / "configs" / name, buildroot / "configs" / name)
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        ours = sorted(path.name for path in (external / "configs").glob("*_defconfig"))
        raise Misuse(f"there is no defconfig {name}", advice=f"a file, or one of {', '.join(ours)}")
    return found.absolute()


def _fragments(defconfig: Path, external: Path, mode: str) -> list[Path]:
    """Returns the defconfig with what is laid over it in the mode `debian`."""
    if mode != DEBIAN:
        return [defconfig]
    own = external / "configs" / f"{defconfig.name}.debian"
    return [defconfig, external / "configs/debian.fragment", *([own] if own.is_file() else [])]


def _requests(path: Path) -> tuple[kconfig.Request, ...]:
    try:
        return kconfig.parse_fragment(path.read_text(), str(path), kconfig.BUILDROOT)
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"cannot read the defconfig {path}", evidence=str(error)) from None
    except kconfig.KconfigError as error:
        raise Misuse(str(error)) from None


def _external_digest(external: Path) -> str:
    """Stands for our tree and the sources that its packages take from elsewhere in the project."""
    total = hashlib.sha256(content_digest(external).encode())
    modules = data_directory("modules")
    sources = [path for path in modules.rglob("*") if path.suffix in (".c", ".h") or path.name == "Makefile"]
    for path in (*agent_sources(), *sorted(sources)):
        total.update(f"{path.name}\0".encode() + path.read_bytes())
    return total.hexdigest()


def _pointer(defconfig: str) -> str:
    return f"buildroot-{digest_of(defconfig)}"


def say_on_stderr(text: str) -> None:
    """Prints a line for whoever waits."""
    print(text, file=sys.stderr, flush=True)
