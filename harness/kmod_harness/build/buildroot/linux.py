"""The kernel of kmod_harness_product_defconfig: Debian's source, configured like `minimal`."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from kmod_harness.build.cache import Cache, digest_of, file_digest
from kmod_harness.build.debian_packages import candidate_version, installed_version, unpack_packages
from kmod_harness.build.kernel.known import resolve_kernel
from kmod_harness.build.kernel.source import debian_source_package
from kmod_harness.errors import Misuse

_KIND = "buildroot-linux"
#: Name of the tarball in the defconfig, for every release.
_TARBALL = "linux-source.tar.xz"


def linux_inputs(cache: Cache) -> Path:
    """Returns a directory with Debian's kernel tarball and `config`, the minimal kernel's resolved one.

    Buildroot looks in `patches/linux/linux.hash` for the hash of a custom kernel; apt has checked the package
    of the tarball. Raises Misuse when the minimal kernel was not built yet, MissingTool when apt has no such
    package.
    """
    from kmod_harness.spec.spec import Spec  # lazy

    kernel = resolve_kernel(Spec(kernel="minimal"), cache=cache)
    if kernel.config is None:
        raise Misuse("the minimal kernel has no configuration", advice="kmod-harness kernel build minimal")
    config = kernel.config
    package = debian_source_package(cache)
    version = installed_version(package) or candidate_version(package)

    def build(entry: Path) -> dict[str, object]:
        installed = Path(f"/usr/src/{package}.tar.xz")
        tarball = entry / _TARBALL
        with tempfile.TemporaryDirectory(prefix=".package-", dir=entry) as scratch:
            if not installed.is_file():
                unpack_packages([package], Path(scratch))
                installed = Path(scratch) / installed.relative_to("/")
            shutil.copyfile(installed, tarball)
        shutil.copyfile(config, entry / "config")
        sha256 = file_digest(tarball)
        (entry / "patches/linux").mkdir(parents=True)
        (entry / "patches/linux/linux.hash").write_text(f"sha256  {sha256}  {tarball.name}\n")
        return {"source": f"{package} {version}", "sha256": sha256}

    return cache.entry(_KIND, digest_of(package, version, config.read_bytes()), build)
