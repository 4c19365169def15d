"""One run of Buildroot: every symbol of the configuration checked, a failure reported by its package."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.buildroot.downloads import expected_hashes, refuse_wrong_downloads
from kmod_harness.build.buildroot.failure import failure_in, step_of
from kmod_harness.build.buildroot.tree import BuildrootTree
from kmod_harness.build.cache import Cache, file_digest
from kmod_harness.build.kernel import kconfig
from kmod_harness.build.kernel.kbuild import Progress, run_make
from kmod_harness.build.required_tools import require_tools
from kmod_harness.errors import BuildFailed

#: File of an output directory with the environment of the next make in it, for a shell.
ENVIRONMENT = "kmod-harness.env"
_DOWNLOADS = ("buildroot-downloads", "all")
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
class BuildrootRun:
    """One output directory of Buildroot; `environment` has the variables that the configuration refers to."""

    tree: BuildrootTree
    external: Path
    output: Path
    log: Path
    environment: Mapping[str, str]

    def configure(self, requests: list[kconfig.Request]) -> None:
        """Writes `.config`. Raises BuildFailed that names every request that was dropped."""
        require_tools(_TOOLS)
        self.output.mkdir(parents=True, exist_ok=True)
        wanted = self.output / "kmod_harness_merged_defconfig"
        wanted.write_text(kconfig.merge("", requests, kconfig.BUILDROOT))
        self._make([f"BR2_DEFCONFIG={wanted}", "defconfig"], what="Buildroot's configuration")
        config = (self.output / ".config").read_text()
        lost = kconfig.dropped_requests(requests, kconfig.parse_config(config, kconfig.BUILDROOT))
        if lost:
            raise BuildFailed(
                f"{len(lost)} of {len(requests)} requested symbols did not survive Buildroot's configuration",
                evidence="\n".join(map(str, lost)),
                advice="request what they depend on too (make menuconfig, `/` shows it), or leave them out",
            )

    def build(self, cache: Cache) -> None:
        """Builds everything. Raises BuildFailed with the package that failed, its last lines and the log."""
        downloads = cache.entry(*_DOWNLOADS, lambda entry: {})
        refuse_wrong_downloads(downloads, expected_hashes(self.tree.directory), cache)
        start = self.log.stat().st_size
        self._offer_kernel(downloads)
        environment = {**self.environment, "BR2_DL_DIR": str(downloads)}
        lines = (f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
        (self.output / ENVIRONMENT).write_text("".join(lines))
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
        """Puts the kernel's tarball into the download directory: our own mirror excludes all others."""
        given = self.environment.get("KMOD_HARNESS_LINUX")
        for tarball in Path(given).glob("*.tar.xz") if given else ():
            (downloads / "linux").mkdir(exist_ok=True)
            shutil.copyfile(tarball, downloads / "linux" / tarball.name)

    def take(self, entry: Path) -> dict[str, object]:
        """Moves the images into the entry; returns their sizes and hashes."""
        shutil.copytree(self.output / "images", entry / "images", symlinks=True)
        # the uncompressed archive beside the compressed one is not needed
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
            environment=self.environment,
            progress=progress,
        )


class _Steps(Progress):
    """Shows Buildroot's steps: a line that is redrawn on a terminal, else a line for each package."""

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
