"""The tools of kmod_harness_tools_defconfig where there is only Debian: its programs and their libraries.

The image's C library is Debian's own, so the programs run in it unchanged.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from kmod_harness.build.cache import Cache, digest_of
from kmod_harness.build.debian_packages import unpack_packages
from kmod_harness.errors import BuildFailed

_KIND = "buildroot-tools"
_TRIPLET = "x86_64-linux-gnu"

#: kmod, strace, gdbserver, python3 with the libraries of its usual modules, without those in the image.
PACKAGES = (
    "gdbserver",
    "kmod",
    "libbz2-1.0",
    "libexpat1",
    "libffi8",
    "libkmod2",
    "liblzma5",
    "libncursesw6",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libreadline8",
    "libsqlite3-0",
    "libssl3",
    "libstdc++6",
    "libtinfo6",
    "libunwind8",
    "libuuid1",
    "libzstd1",
    "media-types",
    "python3.11-minimal",
    "strace",
    "zlib1g",
)
_PROGRAMS = {
    "kmod": ("bin/kmod", "usr/bin/kmod"),
    "strace": ("usr/bin/strace",),
    "gdbserver": ("usr/bin/gdbserver",),
    "python3.11": ("usr/bin/python3.11",),
}
_KMOD_LINKS = ("depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod")
#: Modules that no guest needs: 15 MB of 40.
_LEFT_OUT = ("test", "idlelib", "lib2to3", "pydoc_data", "distutils", "ensurepip", "turtledemo", "tkinter")


def debian_tools(cache: Cache) -> Path:
    """Returns a directory to lay over an image's root; it is made at the first call (some seconds).

    Raises MissingTool and BuildFailed as `unpack_packages` does.
    """

    def build(entry: Path) -> dict[str, object]:
        with tempfile.TemporaryDirectory(prefix=".packages-", dir=entry) as scratch:
            tree = Path(scratch)
            versions = unpack_packages(PACKAGES, tree)
            _arrange(tree, entry / "root")
        return {"versions": versions}

    return cache.entry(_KIND, digest_of(Path(__file__).read_bytes()), build) / "root"


def _arrange(tree: Path, root: Path) -> None:
    programs = root / "usr/bin"
    programs.mkdir(parents=True)
    for name, places in _PROGRAMS.items():
        found = next((tree / place for place in places if (tree / place).is_file()), None)
        if found is None:
            raise BuildFailed(f"Debian's packages no longer hold {name} where it was", evidence=str(places))
        shutil.copy2(found, programs / name)
    (programs / "python3").symlink_to("python3.11")
    (root / "sbin").mkdir()
    for name in _KMOD_LINKS:
        (root / "sbin" / name).symlink_to("../usr/bin/kmod")
    libraries = root / "usr/lib"
    libraries.mkdir()
    for place in (f"lib/{_TRIPLET}", f"usr/lib/{_TRIPLET}"):
        for library in sorted((tree / place).glob("*.so*")):
            if library.is_symlink() or library.is_file():
                shutil.copy2(library, libraries / library.name, follow_symlinks=False)
    ignored = shutil.ignore_patterns("__pycache__", *_LEFT_OUT)
    shutil.copytree(tree / "usr/lib/python3.11", libraries / "python3.11", symlinks=True, ignore=ignored)
    # a link to a file in /etc, for customising
    (libraries / "python3.11/sitecustomize.py").unlink(missing_ok=True)
