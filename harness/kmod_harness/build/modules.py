"""Kernel modules, built by plain kbuild for a known kernel."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from kmod_harness.build.cache import Cache, default_cache, digest_of, write_atomically
from kmod_harness.build.kernel.kbuild import jobs, refuse_odd_path, require_tools, run_make
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.errors import BuildFailed, Misuse

_STAMP = ".built-from"
_LOG = "build.log"
#: Suffixes of kbuild's products, which are not sources even if they lie in the source directory.
_PRODUCTS = (".ko", ".o", ".mod", ".mod.c", ".cmd", ".order", ".symvers")


def build_modules(source_dir: Path, kernel: Kernel, out_dir: Path) -> tuple[Path, ...]:
    """Builds the modules in `source_dir` inside `out_dir` and returns the .ko files, sorted.

    The sources are copied, so that their directory stays clean; warnings are errors. Nothing is run while
    sources and kernel are unchanged. Raises BuildFailed with the first error, Misuse when there is nothing to
    build or the kernel has no build directory.
    """
    build_dir = build_directory(kernel)
    sources = sources_in(source_dir)
    stamp = digest_of(
        _kernel_identity(build_dir),
        *(part for path in sources for part in (str(path.relative_to(source_dir)), path.read_bytes())),
    )
    built = _already_built(out_dir, stamp)
    if built:
        return built
    from filelock import FileLock  # lazy

    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out_dir.with_name(f".{out_dir.name}.lock")):
        built = _already_built(out_dir, stamp)
        if built:
            return built
        _make_empty(out_dir)
        for path in sources:
            copy = out_dir / path.relative_to(source_dir)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        built = _run_kbuild(out_dir, build_dir, out_dir / _LOG, "KCFLAGS=-Werror")
        write_atomically(out_dir / _STAMP, stamp.encode())
    return built


def build_modules_in_place(
    directory: Path, kernel: Kernel, log: Path, *, cache: Cache | None = None
) -> tuple[Path, ...]:
    """Builds the modules in a user's directory, where kbuild leaves its products; returns the .ko files.

    Products of a build for another kernel are built again. `log` receives make's output. Raises as
    `build_modules`.
    """
    require_makefile(directory)
    directory, build_dir, cache = directory.absolute(), build_directory(kernel), cache or default_cache()
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    note = f"in-place-{digest_of(str(directory))}"
    if cache.pointer(note) != _left_by(build_dir, _built_files(directory)):
        _forget_commands(directory)
    built = _run_kbuild(directory, build_dir, log)
    cache.note(note, _left_by(build_dir, built))
    return built


def _left_by(build_dir: Path, built: Iterable[Path]) -> str:
    """Returns a text that changes when these .ko files are built again, or the kernel changes."""
    times = [(str(path), path.stat().st_mtime_ns) for path in built if path.is_file()]
    return json.dumps([_kernel_identity(build_dir), times])


def _forget_commands(directory: Path) -> None:
    """Has kbuild compile everything, by removing the commands it noted beside its objects (.NAME.o.cmd).

    kbuild compiles again what has another command line or a newer header. For two kernels of one source
    neither differs, though structures may: each names its own headers relative to its build directory.
    """
    for parent, directories, files in os.walk(directory):
        directories[:] = [name for name in directories if not name.startswith(".")]
        for name in files:
            if name.startswith(".") and name.endswith(".o.cmd"):
                Path(parent, name).unlink()


def _run_kbuild(directory: Path, build_dir: Path, log: Path, *options: str) -> tuple[Path, ...]:
    directory = directory.absolute()
    _require_pahole(build_dir)
    refuse_odd_path(directory, advice="move it, or build a copy: kmod-harness modules DIR --out DIR")
    run_make(
        ["-C", str(build_dir), f"M={directory}", jobs(), *options, "modules"],
        log=log,
        what=f"building the modules in {directory}",
    )
    built = _built_files(directory)
    if not built:
        raise BuildFailed(
            f"kbuild built no module in {directory}",
            advice="its Makefile or Kbuild names modules as `obj-m := NAME.o`",
        )
    return built


def _built_files(directory: Path) -> tuple[Path, ...]:
    """Returns the .ko files that kbuild listed at its last build, sorted; () before the first."""
    # One line a module: its .ko (6.1), or its .o (from 6.2), absolute or relative to the directory.
    try:
        order = (directory / "modules.order").read_text().split()
    except OSError:
        return ()
    return tuple(sorted((directory / line).with_suffix(".ko") for line in order))


def _require_pahole(build_dir: Path) -> None:
    """Requires pahole where the headers have a vmlinux: for BTF (6.12 scripts/Makefile.modfinal)."""
    with contextlib.suppress(OSError):
        config = (build_dir / "include/config/auto.conf").read_text()
        if "CONFIG_DEBUG_INFO_BTF_MODULES=y" in config and (build_dir / "vmlinux").is_file():
            require_tools({"pahole": "pahole"})


def _already_built(out_dir: Path, stamp: str) -> tuple[Path, ...]:
    try:
        if (out_dir / _STAMP).read_text() != stamp:
            return ()
    except OSError:
        return ()
    return tuple(sorted(out_dir.rglob("*.ko")))


def _make_empty(out_dir: Path) -> None:
    """Empties the directory of an earlier build. Raises Misuse for any other directory with files."""
    if out_dir.is_dir() and any(out_dir.iterdir()) and not (out_dir / _STAMP).is_file():
        raise Misuse(
            f"{out_dir} holds files that are not from a build of modules", advice="give another directory"
        )
    shutil.rmtree(out_dir, ignore_errors=True)
    out_dir.mkdir()
    write_atomically(out_dir / _STAMP, b"unfinished")


def build_directory(kernel: Kernel) -> Path:
    """Returns the directory for `make -C` to build a kernel's modules. Raises Misuse where there is none."""
    if kernel.build_dir is None:
        raise Misuse(
            f"modules cannot be built for the kernel {kernel.name}: it comes without a build directory",
            evidence=f"release {kernel.release}",
            advice="use --kernel minimal or debian, a kernel build directory, or install its headers (host)",
        )
    source = kernel.build_dir / "source"
    if source.is_symlink() and not source.exists():
        raise Misuse(
            f"the source that the kernel {kernel.name} was built from is gone, and kbuild needs it",
            evidence=str(source.readlink()),
            advice="put it back, or build the kernel again: kmod-harness kernel build minimal",
        )
    return kernel.build_dir


def _kernel_identity(build_dir: Path) -> str:
    status = (build_dir / "Module.symvers").stat() if (build_dir / "Module.symvers").exists() else None
    return f"{build_dir} {status.st_mtime_ns if status else 0} {status.st_size if status else 0}"


def sources_in(directory: Path) -> tuple[Path, ...]:
    """Returns the files that a module is built from. Raises Misuse for a directory without any."""
    require_makefile(directory)
    return tuple(
        sorted(
            path
            for path in directory.rglob("*")
            if path.is_file() and not path.name.startswith(".") and not path.name.endswith(_PRODUCTS)
        )
    )


def require_makefile(directory: Path) -> None:
    """Raises Misuse for a directory in which kbuild has nothing to build."""
    if not directory.is_dir():
        raise Misuse(f"there is no directory {directory}; expected one with a module's sources and Makefile")
    if not any((directory / name).is_file() for name in ("Makefile", "Kbuild")):
        raise Misuse(f"{directory} has no Makefile or Kbuild; expected one with `obj-m := NAME.o`")
