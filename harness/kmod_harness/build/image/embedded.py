"""The embedded root file system: BusyBox and Dropbear from Debian's packages, in one initramfs.

No root is needed and nothing is installed: the packages are unpacked in the cache, and the archive with its
device nodes is written by cpio.py. Equal packages give equal bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kmod_harness.build.cache import Cache, default_cache, digest_of
from kmod_harness.build.debian_packages import unpack_packages
from kmod_harness.build.image.cpio import CpioEntry, character_device, directory, regular, symlink, write_cpio
from kmod_harness.errors import BuildFailed

_KIND = "rootfs"
_NAME = "rootfs.cpio.gz"

#: dropbear-bin's libraries come from the five packages behind it (checked: every DT_NEEDED must be found).
PACKAGES = (
    "busybox-static",
    "dropbear-bin",
    "libc6",
    "libcrypt1",
    "libgmp10",
    "libtomcrypt1",
    "libtommath1",
    "zlib1g",
)
_PROGRAMS = ("usr/sbin/dropbear",)
_LIBRARY_PATHS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
_INTERPRETER = "lib64/ld-linux-x86-64.so.2"

# One shell process does the set-up and becomes init: under software emulation each
# program started costs tens of milliseconds. CONSOLE (busybox init.c) moves init's own
# messages away from ttyS0, where nothing but the kernel may write. A mount that is there
# already, or that this kernel cannot do, is no reason to stop. Nothing is mounted over /tmp or
# /run: all of this is memory, and the agent, which starts first, may have written there already.
_INIT = """\
#!/bin/sh
exec </dev/null >/dev/null 2>&1
export PATH=/sbin:/usr/sbin:/bin:/usr/bin CONSOLE=/dev/null
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -a
echo kmod-harness >/proc/sys/kernel/hostname
ifconfig lo up
exec /sbin/init
"""

_FSTAB = """\
proc      /proc                proc      nosuid,nodev,noexec  0 0
sysfs     /sys                 sysfs     nosuid,nodev,noexec  0 0
devpts    /dev/pts             devpts    gid=5,mode=620       0 0
debugfs   /sys/kernel/debug    debugfs   defaults             0 0
tracefs   /sys/kernel/tracing  tracefs   defaults             0 0
"""

# The serial shell is a login shell ("-"), so that it has a controlling terminal and /etc/profile.
_INITTAB = """\
ttyS1::respawn:-/bin/sh
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/umount -a -r
::restart:/sbin/init
"""

_PROFILE = """\
export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/root
export PS1='# '
cd
"""

_TEXTS = {
    "etc/fstab": _FSTAB,
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/hostname": "kmod-harness\n",
    "etc/hosts": "127.0.0.1 localhost kmod-harness\n",
    "etc/inittab": _INITTAB,
    # "*": no password opens it; dropbear accepts the run's key all the same.
    "etc/passwd": "root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/:/bin/sh\n",
    "etc/profile": _PROFILE,
    "etc/shells": "/bin/sh\n",
}


def embedded_rootfs(cache: Cache | None = None) -> Path:
    """Returns the gzipped initramfs, made at the first call (a few seconds).

    Raises MissingTool where Debian's packages cannot be downloaded, BuildFailed when they lack a file.
    """
    cache = cache or default_cache()
    # The key depends on all of this file and of cpio.py, which writes the archive.
    recipe = (Path(__file__), Path(__file__).with_name("cpio.py"))
    key = digest_of(*(path.read_bytes() for path in recipe))
    return cache.entry(_KIND, key, _build) / _NAME


def _build(entry: Path) -> dict[str, object]:
    with tempfile.TemporaryDirectory(prefix=".packages-", dir=entry) as scratch:
        tree = Path(scratch)
        versions = unpack_packages(PACKAGES, tree)
        archive = write_cpio([*_skeleton(), *_busybox(tree), *_dynamic_programs(tree)])
    compressed = gzip.compress(archive, 9, mtime=0)
    (entry / _NAME).write_bytes(compressed)
    return {
        "packages": versions,
        "sha256": hashlib.sha256(compressed).hexdigest(),
        "compressed_bytes": len(compressed),
        "unpacked_bytes": len(archive),
    }


def _skeleton() -> Iterator[CpioEntry]:
    for path in (".", "dev", "etc", "mnt", "proc", "run", "sys", "usr/lib", "var/log"):
        yield directory(path)
    yield directory("root", 0o700)
    yield directory("etc/dropbear", 0o700)
    yield directory("tmp", 0o1777)
    yield symlink("var/run", "../run")
    yield symlink("etc/mtab", "../proc/self/mounts")
    # What is needed before, or without, devtmpfs. Numbers: Documentation/admin-guide/devices.txt.
    yield character_device("dev/console", 5, 1)
    yield character_device("dev/null", 1, 3, 0o666)
    yield character_device("dev/ttyS1", 4, 65)
    yield regular("init", _INIT.encode(), 0o755)
    for path, text in _TEXTS.items():
        yield regular(path, text.encode())


def _busybox(tree: Path) -> Iterator[CpioEntry]:
    program = tree / "bin/busybox"
    if not program.is_file():
        program = tree / "usr/bin/busybox"
    yield regular("bin/busybox", _read(program), 0o755)
    listing = subprocess.run([program, "--list-full"], capture_output=True, text=True, check=True)
    for applet in listing.stdout.split():
        if applet == "bin/busybox":
            continue
        up = "../" * applet.count("/")
        yield symlink(applet, f"{up}bin/busybox" if not applet.startswith("bin/") else "busybox")


def _dynamic_programs(tree: Path) -> Iterator[CpioEntry]:
    needed: dict[str, Path] = {}
    queue = [tree / path for path in _PROGRAMS]
    while queue:
        for library in _needed_libraries(queue.pop()):
            if library not in needed and library != Path(_INTERPRETER).name:
                needed[library] = _find_library(tree, library)
                queue.append(needed[library])
    for path in _PROGRAMS:
        yield regular(path, _read(tree / path), 0o755)
    for library, source in needed.items():
        yield regular(f"{_LIBRARY_PATHS[0]}/{library}", _read(source), 0o755)
    yield regular(_INTERPRETER, _read(_find_library(tree, Path(_INTERPRETER).name)), 0o755)


def _needed_libraries(program: Path) -> tuple[str, ...]:
    from kmod_harness.kmod.elf.programs import program_needs  # lazy

    return program_needs(_read(program)).libraries


def _find_library(tree: Path, name: str) -> Path:
    for directory_name in _LIBRARY_PATHS:
        candidate = tree / directory_name / name
        if candidate.is_file():
            return candidate
    raise BuildFailed(
        f"the root file system's programs need {name}, which none of its packages holds",
        evidence=" ".join(PACKAGES),
        advice="this Debian release packages it elsewhere: add the package in build/image/embedded.py",
    )


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise BuildFailed(f"Debian's packages no longer hold {path.name} where it was", evidence=str(path))
    return path.read_bytes()
