"""A kernel built from source: tinyconfig with fragments, every request checked, compiled out of tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kmod_harness.build.cache import Cache, digest_of
from kmod_harness.build.compiler import COMPILER, compiler_version
from kmod_harness.build.kernel import kconfig
from kmod_harness.build.kernel.kbuild import Progress, jobs, run_make
from kmod_harness.build.kernel.localversion import own_localversion
from kmod_harness.build.kernel.source import KernelSource, debian_source, kernel_source
from kmod_harness.build.llvm import clang_version, llvm_words
from kmod_harness.build.required_tools import require_tools
from kmod_harness.errors import BuildFailed, MissingTool, Misuse
from kmod_harness.host.resources import data_directory

_KIND = "kernel"
#: Changes when this file builds differently from the same input.
_RECIPE = "1"
#: CC, AS and LD lines of the minimal kernel, for the progress shown.
_EXPECTED_OBJECTS = 1300

_TOOLS = {"make": "make", COMPILER: "gcc", "ld": "binutils", "flex": "flex", "bison": "bison", "bc": "bc"}
_COMPRESSION_TOOLS = {
    "KERNEL_ZSTD": ("zstd", "zstd"),
    "KERNEL_LZ4": ("lz4", "lz4"),
    "KERNEL_XZ": ("xz", "xz-utils"),
    "KERNEL_LZO": ("lzop", "lzop"),
}

#: Equal input gives an equal kernel: time, user and host would otherwise be part of the image.
_REPRODUCIBLE = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "kmod-harness",
    "KBUILD_BUILD_HOST": "kmod-harness",
    "KBUILD_BUILD_VERSION": "1",
}

#: Build products that are not needed later: 500 MB. External modules are built with other directories
#: (scripts, tools, include, arch/x86/include), which stay whole.
_DISPOSABLE_SUFFIXES = (".o", ".a", ".cmd", ".d", ".order", ".lds")
_KEPT_DIRECTORIES = ("scripts", "tools", "include", "source")
_KEPT_FILES = ("modules.order", "scripts/module.lds")


@dataclass(frozen=True)
class _Fragment:
    path: Path
    requests: tuple[kconfig.Request, ...]

    @property
    def settings(self) -> str:
        """The requests in order, without comments, which do not change the kernel."""
        return "\n".join(map(str, self.requests))


def built_kernel(fragments: Sequence[Path], *, of: str = "", cache: Cache) -> Path | None:
    """Returns the build directory of the kernel last built from these fragments, None without one.

    of: the release or suite that Debian's source was asked for by, "" for none
    """
    key = cache.pointer(_pointer(_read_fragments(fragments), of))
    entry = cache.find(_KIND, key) if key else None
    return entry / "build" if entry is not None else None


def build_kernel(fragments: Sequence[Path], *, source: str | Path = "", of: str = "", cache: Cache) -> Path:
    """Returns the build directory of a kernel, compiled unless the cache holds it.

    fragments: fragments laid over tinyconfig, in order
    source: directory or tarball, "" for Debian's
    of: release or suite of Debian's source, such as `6.12` or `sid`; "" for the running suite's
    cache: the cache; the key depends on source, fragments and compiler

    Raises BuildFailed when a requested symbol is dropped or compiling fails, Misuse for wrong input,
    MissingTool.
    """
    read = _read_fragments(fragments)
    tree = debian_source(of, cache) if of else kernel_source(source, cache)
    requests = _requests(read)
    renamings = kconfig.renamings_of(_renamings(), requests)
    older = _held_substitutions(tree, cache)
    compiler = llvm_words({request.symbol: request.value for request in requests})
    clang = clang_version(compiler)
    key = digest_of(
        _RECIPE,
        tree.identity,
        compiler_version(),
        *([clang] if clang else []),
        *_settings(read),
        *(f"{item.older} is {item.newer}" for item in renamings),
        *older,
    )
    log = cache.log_path(_KIND, key)

    def build(entry: Path) -> dict[str, object]:
        started = time.monotonic()
        build_dir = entry / "build"
        begins = "going on with an interrupted build of" if build_dir.is_dir() else "building"
        print(f"{begins} a kernel from {tree.identity} (log: {log})", file=sys.stderr)
        log.write_bytes(b"")
        build_dir.mkdir(exist_ok=True)
        configure(tree, requests, build_dir, log, renamings)
        compiled = _compile([*_options(tree, build_dir), *compiler], build_dir, log)
        _discard_products(build_dir)
        (entry / "compile.log").write_bytes(log.read_bytes())
        release = (build_dir / "include/config/kernel.release").read_text().strip()
        print(f"built {release} in {time.monotonic() - started:.0f} s", file=sys.stderr)
        return {
            "release": release,
            "source": tree.identity,
            "needs": [tree.entry] if tree.entry else [],
            "fragments": {str(fragment.path): digest_of(fragment.settings) for fragment in read},
            "compiler": clang or compiler_version(),
            "objects": compiled,
            "seconds": round(time.monotonic() - started, 1),
        }

    # make takes up where it was: what it had not finished lacks its .cmd file
    entry = cache.entry(_KIND, key, build, resumable=True)
    cache.point(_pointer(read, of), key)
    return entry / "build"


def configure(
    tree: KernelSource,
    requests: Sequence[kconfig.Request],
    build_dir: Path,
    log: Path,
    renamings: Sequence[kconfig.SymbolRenaming] = (),
) -> dict[str, str]:
    """Writes `build_dir/.config` (tinyconfig with the requests) and returns its symbols.

    A symbol requested by its name in another release gets this kernel's name. Raises BuildFailed that names
    every request Kconfig dropped, and the value it chose.
    """
    require_tools(_TOOLS)
    defined = _defined_symbols(tree.directory)
    requests = kconfig.with_current_names(defined, requests, renamings)
    requests = kconfig.substituted(defined, requests, _older_releases())
    options = [*_options(tree, build_dir), *llvm_words({item.symbol: item.value for item in requests})]
    run_make([*options, "tinyconfig"], log=log, what="the kernel's tinyconfig")
    config = build_dir / ".config"
    config.write_text(kconfig.merge(config.read_text(), requests))
    run_make([*options, "olddefconfig"], log=log, what="resolving the kernel's configuration")
    resolved = kconfig.parse_config(config.read_text())
    lost = kconfig.dropped_requests(requests, resolved)
    if lost:
        raise BuildFailed(
            f"{len(lost)} of {len(requests)} requested symbols did not survive Kconfig",
            evidence="\n".join(
                f"{item}" + ("" if item.request.symbol in defined else " (this kernel has no such symbol)")
                for item in lost
            ),
            advice="request what they depend on too (make menuconfig, `/` shows it), or leave them out",
        )
    return resolved


def _compile(options: Sequence[str], build_dir: Path, log: Path) -> int:
    resolved = kconfig.parse_config((build_dir / ".config").read_text())
    require_tools(dict(tool for symbol, tool in _COMPRESSION_TOOLS.items() if resolved.get(symbol) == "y"))
    _require_libelf()
    return run_make(
        [*options, jobs(), "bzImage", "modules"],
        log=log,
        what="compiling the kernel",
        environment=_REPRODUCIBLE,
        progress=Progress(_EXPECTED_OBJECTS),
    )


def _options(tree: KernelSource, build_dir: Path) -> list[str]:
    return ["-C", str(tree.directory), "ARCH=x86_64", f"O={build_dir}"]


def _require_libelf() -> None:
    """Raises MissingTool without libelf, which objtool needs; kbuild itself would fail after a minute."""
    probe = subprocess.run(
        [COMPILER, "-fsyntax-only", "-include", "gelf.h", "-x", "c", "/dev/null"],
        capture_output=True,
        check=False,
    )
    if probe.returncode != 0:
        raise MissingTool(
            "the headers of libelf, which building a kernel needs, are missing",
            advice="as root: apt-get install --no-install-recommends libelf-dev",
        )


def _read_fragments(paths: Sequence[Path]) -> tuple[_Fragment, ...]:
    fragments = []
    for path in paths:
        try:
            text = path.read_text()
            fragments.append(_Fragment(path, kconfig.parse_fragment(text, str(path))))
        except (OSError, UnicodeDecodeError) as error:
            raise Misuse(f"cannot read the Kconfig fragment {path}", evidence=str(error)) from None
        except kconfig.KconfigError as error:
            raise Misuse(str(error)) from None
    return tuple(fragments)


def _renamings() -> tuple[kconfig.SymbolRenaming, ...]:
    table = data_directory("kernel-config") / "renamed-symbols.txt"
    return kconfig.parse_renamings(table.read_text())


def _older_releases() -> tuple[kconfig.Substitution, ...]:
    return kconfig.parse_substitutions((data_directory("kernel-config") / "older-releases.txt").read_text())


def _held_substitutions(tree: KernelSource, cache: Cache) -> list[str]:
    """Returns the substitutions of this tree as words for a key; they are looked for once, in 1,500 files."""
    rows = _older_releases()
    note = f"older-{digest_of(tree.identity, *map(str, rows))}"
    known = cache.pointer(note)
    if not known:
        defined = _defined_symbols(tree.directory)
        held = [f"{' '.join(row.instead)} for {row.symbol}" for row in rows if row.holds(defined)]
        known = json.dumps(held)
        cache.note(note, known)
    return [str(row) for row in json.loads(known)]


def _requests(fragments: Sequence[_Fragment]) -> list[kconfig.Request]:
    requests = [request for fragment in fragments for request in fragment.requests]
    own = own_localversion([fragment.requests for fragment in fragments])
    return [*requests, own] if own is not None else requests


def _settings(fragments: Sequence[_Fragment]) -> list[str]:
    own = own_localversion([fragment.requests for fragment in fragments])
    return [*(fragment.settings for fragment in fragments), *([str(own)] if own is not None else [])]


def _pointer(fragments: Sequence[_Fragment], of: str) -> str:
    name = f"kernel-{digest_of(*_settings(fragments))}"
    return f"{name}-of-{of}" if of else name


def _defined_symbols(tree: Path) -> set[str]:
    found: set[str] = set()
    for directory, _, names in os.walk(tree):
        for name in names:
            if name.startswith("Kconfig"):
                text = Path(directory, name).read_text(errors="replace")
                found |= kconfig.defined_symbols(text)
    return found


def _discard_products(build_dir: Path) -> None:
    for path in _products(build_dir):
        path.unlink()


def _products(build_dir: Path) -> Iterator[Path]:
    for top in build_dir.iterdir():
        if top.is_dir() and not top.is_symlink() and top.name not in _KEPT_DIRECTORIES:
            for directory, _, names in os.walk(top):
                for name in names:
                    yield from _product(build_dir, Path(directory, name))
        elif top.is_file() and not top.is_symlink():
            yield from _product(build_dir, top)


def _product(build_dir: Path, path: Path) -> Iterator[Path]:
    relative = str(path.relative_to(build_dir))
    compressed_stage = relative.startswith("arch/x86/boot/") and path.name.startswith(("vmlinux", "piggy"))
    if relative in _KEPT_FILES or relative.startswith("arch/x86/include/"):
        return
    if path.suffix in _DISPOSABLE_SUFFIXES or compressed_stage or path.name.startswith(".tmp_"):
        yield path
