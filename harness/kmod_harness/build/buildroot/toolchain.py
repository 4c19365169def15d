"""A toolchain for Buildroot made from Debian's packages, without installing them.

An installed Debian gcc links the libraries of the machine it runs on. Here its packages are unpacked into a
directory beside a sysroot with Debian's C library, and wrapper scripts run it with that sysroot.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kmod_harness.build.debian_packages import unpack_packages
from kmod_harness.errors import BuildFailed

#: Triplet and version of Debian 12's compiler; also in buildroot/configs/debian.fragment.
GCC = "12"
TRIPLET = "x86_64-linux-gnu"

#: The compiler, and binutils, each with the shared libraries it is linked with (checked: gcc must compile).
TOOL_PACKAGES = (
    f"gcc-{GCC}",
    f"cpp-{GCC}",
    f"libgcc-{GCC}-dev",
    "binutils",
    "binutils-x86-64-linux-gnu",
    "libbinutils",
    "libctf0",
    "libctf-nobfd0",
    "libgprofng0",
    "libjansson4",
    "libgmp10",
    "libisl23",
    "libmpc3",
    "libmpfr6",
    "libzstd1",
    "zlib1g",
)
#: Headers and libraries with which the image's programs are built; some libraries go into the image.
SYSROOT_PACKAGES = ("libc6", "libc6-dev", "linux-libc-dev", "libgcc-s1", "libatomic1")

#: Files of OpenMP, which the configuration declares absent: Buildroot checks that the compiler lacks it.
_LEFT_OUT = ("libgomp*", "libasan*", "libtsan*", "liblsan*", "libubsan*", "libitm*", "libquadmath*")
_LINKER_SCRIPTS = ("libc.so", "libm.so", "libm.a", "libgcc_s.so", "libpthread.so")
_BINUTILS: tuple[str, ...] = (
    "addr2line",
    "ar",
    "as",
    "c++filt",
    "elfedit",
    "gprof",
    "ld",
    "ld.bfd",
    "nm",
    "objcopy",
)
_BINUTILS += ("objdump", "ranlib", "readelf", "size", "strings", "strip")
_COMPILER = ("gcc", "cpp", "gcc-ar", "gcc-nm", "gcc-ranlib")


def assemble_toolchain(directory: Path) -> dict[str, str]:
    """Fills `directory` (bin, tools, sysroot), which then cannot be moved; returns package -> version.

    Raises MissingTool and BuildFailed as `unpack_packages` does, BuildFailed when a file is not where Debian
    12 has it.
    """
    tools, sysroot = directory / "tools", directory / "sysroot"
    versions = unpack_packages(TOOL_PACKAGES, tools) | unpack_packages(SYSROOT_PACKAGES, sysroot)
    for pattern in _LEFT_OUT:
        for path in (tools / "usr/lib/gcc" / TRIPLET / GCC).glob(pattern):
            path.unlink()
    _flatten(sysroot)
    _make_links_relative(sysroot)
    _clean_linker_scripts(sysroot, tools)
    _write_programs(directory)
    return versions


def _flatten(sysroot: Path) -> None:
    """Moves the content of multiarch directories to their parents: Buildroot finds a sysroot by libc.a.

    Afterwards no directory with the triplet in its name is left.
    """
    for parent in ("lib", "usr/lib", "usr/include"):
        multiarch = sysroot / parent / TRIPLET
        if not multiarch.is_dir():
            continue
        for entry in sorted(multiarch.iterdir()):
            target = multiarch.parent / entry.name
            if entry.is_dir() and not entry.is_symlink() and target.is_dir():
                shutil.copytree(entry, target, symlinks=True, dirs_exist_ok=True)
            else:
                shutil.move(entry, target)
        shutil.rmtree(multiarch)
    for directory in ("usr/share", "etc", "usr/lib/gconv", "lib/gconv", "usr/lib/audit"):
        shutil.rmtree(sysroot / directory, ignore_errors=True)


def _make_links_relative(sysroot: Path) -> None:
    for link in _symlinks(sysroot):
        target = os.readlink(link)
        flat = target.replace(f"/{TRIPLET}/", "/")
        if flat.startswith("/"):
            flat = os.path.relpath(sysroot / flat.lstrip("/"), link.parent)
        if flat != target:
            link.unlink()
            link.symlink_to(flat)


def _symlinks(root: Path) -> Iterator[Path]:
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(directory, name)
            if path.is_symlink():
                yield path


def _clean_linker_scripts(sysroot: Path, tools: Path) -> None:
    """Removes the directories in GROUP ( /lib/.../libc.so.6 ... ): the linker looks in the sysroot."""
    directories = (sysroot / "usr/lib", sysroot / "lib", tools / "usr/lib/gcc" / TRIPLET / GCC)
    for directory in directories:
        for name in _LINKER_SCRIPTS:
            script = directory / name
            if not script.is_file() or script.is_symlink():
                continue
            text = script.read_bytes()
            if text.startswith((b"/*", b"OUTPUT_FORMAT")):
                for path in (f"/usr/lib/{TRIPLET}/", f"/lib/{TRIPLET}/", "/lib64/", "/usr/lib/", "/lib/"):
                    text = text.replace(path.encode(), b"")
                script.write_bytes(text)


def _write_programs(directory: Path) -> None:
    tools = directory / "tools"
    libraries = f"{tools}/usr/lib/{TRIPLET}:{tools}/lib/{TRIPLET}"
    # gcc looks for the assembler and the linker by this prefix, before it looks on PATH
    own = f"--sysroot={directory}/sysroot -B{tools}/usr/bin/{TRIPLET}-"
    (directory / "bin").mkdir()
    for name in (*_COMPILER, *_BINUTILS):
        program = tools / f"usr/bin/{TRIPLET}-{name}{f'-{GCC}' if name in _COMPILER else ''}"
        if not program.is_file():
            raise BuildFailed(
                f"Debian's packages no longer hold {program.name} where it was", evidence=str(program)
            )
        arguments = own if name in ("gcc", "cpp") else ""
        wrapper = directory / "bin" / f"{TRIPLET}-{name}"
        wrapper.write_text(
            f'#!/bin/sh\nexport LD_LIBRARY_PATH={libraries}\nexec {program} {arguments} "$@"\n'
        )
        wrapper.chmod(0o755)
