"""Kernel modules, built for a known kernel as their directory says: dkms.conf, own Makefile, kbuild."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.cache import Cache, default_cache, digest_of, write_atomically
from kmod_harness.build.kernel.kconfig import parse_config
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.build.kernel.known import resolve_kernel
from kmod_harness.build.reasons.explain_failure import Sources, explain_exclusion, explain_failure
from kmod_harness.build.reasons.kernel_tree import kernel_tree
from kmod_harness.build.required_tools import require_tools
from kmod_harness.build.ways.build_way import build_way, built_by
from kmod_harness.build.ways.way import Dkms, ForKernel, Kbuild, Way, choose_ways, require_sources
from kmod_harness.errors import BuildFailed, KmodHarnessError, Misuse, NotForThisKernel
from kmod_harness.host.directories import working_directory
from kmod_harness.spec.kernel_name import DEBIAN, MINIMAL, KernelName
from kmod_harness.spec.spec import Spec

_STAMP = ".built-from"
_LOG = "build.log"
#: Suffixes of kbuild's products, which are not sources even if they lie in the source directory.
_PRODUCTS = (".ko", ".o", ".mod", ".mod.c", ".cmd", ".order", ".symvers")

#: Receives one line for people.
Say = Callable[[str], None]


def build_modules(
    source_dir: Path, kernel: Kernel, out_dir: Path, *, settings: Sequence[str] = (), say: Say | None = None
) -> tuple[Path, ...]:
    """Builds the modules in `source_dir` inside `out_dir` and returns the .ko files, sorted.

    The sources are copied, so that their directory stays clean; for kbuild warnings are errors. Nothing is
    run while sources and kernel are unchanged. settings: `NAME=value` for make. say: is told the way. Raises
    BuildFailed with the first error, Misuse when there is nothing to build or the kernel has no build
    directory.
    """
    build_dir = build_directory(kernel)
    sources = sources_in(source_dir)
    stamp = digest_of(
        _kernel_identity(build_dir),
        *settings,
        *(part for path in sources for part in (str(path.relative_to(source_dir)), path.read_bytes())),
    )
    built = _already_built(out_dir, stamp)
    if built:
        return built
    from filelock import FileLock  # lazy

    for_kernel = _for_kernel(kernel, build_dir)
    ways = choose_ways(source_dir, for_kernel)
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

        def build(way: Way, given: Sequence[str]) -> tuple[Path, ...]:
            strict = ["KCFLAGS=-Werror"] if isinstance(way, Kbuild) else []
            place = out_dir.absolute() / way.directory.relative_to(source_dir)
            return build_way(way, place, for_kernel, out_dir / _LOG, [*strict, *given])

        told = _Told(for_kernel, out_dir / _LOG, default_cache(), say)
        built = _build_each(ways, settings, build, told)
        write_atomically(out_dir / _STAMP, stamp.encode())
    return built


def build_modules_in_place(
    directory: Path,
    kernel: Kernel,
    log: Path,
    *,
    settings: Sequence[str] = (),
    say: Say | None = None,
    cache: Cache | None = None,
) -> tuple[Path, ...]:
    """Builds the modules in a user's directory, where make leaves its products; returns the .ko files.

    A dkms.conf that patches or configures has a copy built instead, in the cache. Products of a build for
    another kernel are built again. `log` receives make's output. Raises as `build_modules`.
    """
    cache, build_dir = cache or default_cache(), build_directory(kernel)
    for_kernel = _for_kernel(kernel, build_dir)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")

    def build(way: Way, given: Sequence[str]) -> tuple[Path, ...]:
        if (isinstance(way, Dkms) and way.conf.alters_sources) or not os.access(way.directory, os.W_OK):
            return _build_copy(way, for_kernel, log, given, cache)
        note = f"in-place-{digest_of(str(way.directory))}"
        if cache.pointer(note) != _left_by(build_dir, built_by(way, way.directory)):
            _forget_commands(way.directory)
        built = build_way(way, way.directory, for_kernel, log, given)
        cache.note(note, _left_by(build_dir, built))
        return built

    told = _Told(for_kernel, log, cache, say)
    return _build_each(choose_ways(directory.absolute(), for_kernel), settings, build, told)


@dataclass(frozen=True)
class _Told:
    """Where people are told of a build: of its way, and of its failures."""

    kernel: ForKernel
    log: Path
    cache: Cache
    say: Say | None

    def way(self, way: Way) -> None:
        if self.say is not None:
            self.say(_below_here(f"{way.directory}/").rstrip("/") + f": {way.said}")

    def failure(self, failure: BuildFailed, start: int) -> BuildFailed:
        """Returns a failure explained by what the log has from `start` on."""
        tree = kernel_tree(self.kernel.build_dir, self.kernel.release, self.cache)
        minimal, debian = self._known(MINIMAL), self._known(DEBIAN)
        base = MINIMAL
        if minimal is None or _series(minimal.release) != _series(self.kernel.release):
            base = str(KernelName(MINIMAL, _series(self.kernel.release)))
            minimal = self._known(base)
        others = debian if debian is not None and debian.release != self.kernel.release else None
        sources = Sources(
            tree,
            self.kernel.config,
            _config_of(minimal) if minimal is not None else {},
            _config_of(others) if others is not None else {},
            base,
        )
        if isinstance(failure, NotForThisKernel):
            return explain_exclusion(failure, sources)
        output = self.log.read_bytes()[start:].decode(errors="replace")
        return explain_failure(failure, _below_here(output), sources)

    def _known(self, name: str) -> Kernel | None:
        with contextlib.suppress(KmodHarnessError):
            return resolve_kernel(Spec(kernel=name), cache=self.cache)
        return None


def _build_each(
    ways: Sequence[Way],
    settings: Sequence[str],
    build: Callable[[Way, Sequence[str]], tuple[Path, ...]],
    told: _Told,
) -> tuple[Path, ...]:
    """Builds in each way; what one exports, later ones may use. Raises BuildFailed, after all were tried."""
    built: list[Path] = []
    failures: list[BuildFailed] = []
    for way in ways:
        told.way(way)
        symbols = [str(path.parent / "Module.symvers") for path in built]
        exports = [f"KBUILD_EXTRA_SYMBOLS={' '.join(dict.fromkeys(symbols))}"] if symbols else []
        start = told.log.stat().st_size if told.log.exists() else 0
        try:
            if isinstance(way, Dkms) and way.conf.not_for:
                raise _not_for(way)
            built += build(way, [*settings, *exports])
        except BuildFailed as failure:
            failures.append(told.failure(failure, start))
            built += failure.built
    if not failures:
        return tuple(built)
    if len(ways) == 1:
        raise failures[0]
    raise BuildFailed(
        f"{len(failures)} of {len(ways)} directories were not built",
        evidence="\n".join(map(str, failures)),
        built=tuple(built),
    )


def _series(release: str) -> str:
    found = re.match(r"\d+\.\d+", release)
    return found[0] if found else release


def _below_here(text: str) -> str:
    """Returns a text with the paths below the working directory relative to it."""
    here = working_directory()
    return text.replace(f"{here}/", "") or "." if here is not None and here != Path("/") else text


def _not_for(way: Dkms) -> NotForThisKernel:
    conf = way.conf
    return NotForThisKernel(
        f"{conf.name} {conf.version} is not for this kernel, says its dkms.conf",
        evidence="\n".join([*conf.not_for, *([conf.said] if conf.said else [])]),
    )


def _build_copy(
    way: Way, kernel: ForKernel, log: Path, settings: Sequence[str], cache: Cache
) -> tuple[Path, ...]:
    """Builds in a copy, which the cache keeps for these sources and this kernel."""
    directory = way.directory
    files = sorted(path for path in directory.rglob("*") if path.is_file() and ".git" not in path.parts)
    content = (part for path in files for part in (str(path.relative_to(directory)), path.read_bytes()))
    key = digest_of(_kernel_identity(kernel.build_dir), way.said, *settings, *content)

    def build(entry: Path) -> dict[str, object]:
        place = entry / directory.name
        shutil.copytree(directory, place, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        try:
            built = build_way(way, place, kernel, log, settings)
        except BuildFailed:
            # the copy goes with the failure
            log.write_bytes(log.read_bytes().replace(bytes(place), bytes(directory)))
            raise
        return {"identity": str(directory), "built": [str(path.relative_to(entry)) for path in built]}

    entry = cache.entry("modules", key, build)
    names = (cache.manifest("modules", key) or {}).get("built")
    return tuple(entry / str(name) for name in names) if isinstance(names, list) else ()


def _for_kernel(kernel: Kernel, build_dir: Path) -> ForKernel:
    _require_pahole(build_dir)
    return ForKernel(kernel.release, build_dir, _config_of(kernel))


def _config_of(kernel: Kernel) -> dict[str, str]:
    file = kernel.config or (kernel.build_dir or Path()) / ".config"
    return parse_config(file.read_text()) if file.is_file() else {}


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
    """Returns the files that a module is built from. Raises Misuse where there is no directory."""
    require_sources(directory)
    return tuple(
        sorted(
            path
            for path in directory.rglob("*")
            if path.is_file() and not path.name.startswith(".") and not path.name.endswith(_PRODUCTS)
        )
    )
