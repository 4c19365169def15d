"""The kernels that are known on this machine, and the one that a Spec names."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from kmod_harness.build.cache import Cache, CacheEntry, default_cache
from kmod_harness.build.kernel.bzimage import bzimage_release
from kmod_harness.build.kernel.kernel import Kernel, existing
from kmod_harness.build.kernel.kernel_of_module import kernel_of_module
from kmod_harness.build.kernel.unpacked_kernel import (
    images_in,
    kernel_around,
    kernel_in_package,
    kernel_in_root,
    unpacked_kernels,
)
from kmod_harness.errors import KmodHarnessError, Misuse
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.spec.kernel_name import DEBIAN, MINIMAL, KernelName, parse_kernel_name
from kmod_harness.spec.spec import Spec

_BZIMAGE = "arch/x86/boot/bzImage"
#: How a cache entry names Debian's source: `linux-source-6.12 6.12.118-1`.
_DEBIAN_SOURCE = re.compile(r"linux-source-(\d+\.\d+) ")


def resolve_kernel(
    spec: Spec,
    *,
    module: KernelModule | None = None,
    build: bool = False,
    source: str | Path | None = None,
    cache: Cache | None = None,
) -> Kernel:
    """Returns the kernel that a spec names.

    spec: the spec. Its kernel "" means the kernel here that `module` was built for, else `minimal`
    module: the first module that is to be loaded
    build: True builds or downloads the kernel when it is missing
    source: tree or tarball to build from, "" for Debian's, None for the kernel built last from any source,
        else Debian's
    cache: the cache, None for the user's

    Raises Misuse when a path is wrong, a kernel was not built (with the command that builds it), or a module
    may be for several kernels; BuildFailed when building fails.
    """
    cache = cache or default_cache()
    named = parse_kernel_name(spec.kernel or MINIMAL)
    if spec.kconfig and (named is None or named.base != MINIMAL):
        raise Misuse(
            f"kconfig fragments were given with the kernel {spec.kernel!r}, but only `minimal` is built from "
            "them",
            advice="leave out --kernel, or the fragments",
        )
    if not spec.kernel and not spec.kconfig and module is not None:
        kernel = kernel_of_module(module, known_kernels(cache=cache))
        if kernel is not None:
            return kernel
    if named is None:
        return kernel_at(Path(spec.kernel), cache)
    if named.base == MINIMAL:
        return _minimal(named, spec.kconfig, build=build, source=source, cache=cache)
    return _debian(named, build=build, cache=cache) if named.base == DEBIAN else host_kernel()


def known_kernels(*, cache: Cache | None = None) -> tuple[Kernel, ...]:
    """Returns the kernels that can be booted now: `minimal`, `debian`, all others in the cache, `host`."""
    from kmod_harness.build.kernel.debian_kernel import all_downloaded_debian_kernels  # lazy

    cache = cache or default_cache()
    found: dict[Path, Kernel] = {}
    downloaded = (*all_downloaded_debian_kernels(cache), *unpacked_kernels(cache))
    for kernel in (*_current(cache), *_built(cache), *downloaded):
        found.setdefault(kernel.bzimage, kernel)
    try:
        host = host_kernel()
    except KmodHarnessError:
        return tuple(found.values())
    return (*found.values(), host)


def _current(cache: Cache) -> tuple[Kernel, ...]:
    found = []
    for name in (MINIMAL, DEBIAN):
        with contextlib.suppress(Misuse):
            found.append(resolve_kernel(Spec(kernel=name), cache=cache))
    return tuple(found)


def _built(cache: Cache) -> tuple[Kernel, ...]:
    return tuple(_named(entry, cache) for entry in reversed(cache.entries("kernel")))


def _named(entry: CacheEntry, cache: Cache) -> Kernel:
    """Returns a built kernel by the name that means it now, as `minimal@6.12`, else by its path."""
    kernel = _in_build_dir(entry.path / "build")
    of = _DEBIAN_SOURCE.match(str(entry.manifest.get("source", "")))
    if of is not None:
        with contextlib.suppress(Misuse):
            named = _minimal(KernelName(MINIMAL, of[1]), (), build=False, source=None, cache=cache)
            if named.bzimage == kernel.bzimage:
                return named
    return kernel


def _minimal(
    name: KernelName, kconfig: Sequence[str], *, build: bool, source: str | Path | None, cache: Cache
) -> Kernel:
    from kmod_harness.build.kernel.from_source import build_kernel, built_kernel  # lazy
    from kmod_harness.build.kernel.kbuild import refuse_odd_path  # lazy
    from kmod_harness.host.resources import kconfig_fragment, minimal_config  # lazy

    if name.of and source:
        raise Misuse(f"{name} names its source, and --source another one", advice="give one of the two")
    fragments = (minimal_config(), *map(kconfig_fragment, kconfig))
    build_dir = None
    if source is None or not build:
        build_dir = built_kernel(fragments, of=name.of, cache=cache) or _of_release(
            name.of, built_kernel(fragments, cache=cache)
        )
    if build_dir is None and build:
        refuse_odd_path(cache.root, advice="set XDG_CACHE_HOME to a directory without them")
        build_dir = build_kernel(fragments, source=source or "", of=name.of, cache=cache)
    if build_dir is None:
        options = "".join(f" --kconfig {fragment}" for fragment in kconfig)
        raise Misuse(
            f"the {name if name.of else 'minimal'} kernel is not built yet"
            + (" with these fragments" if kconfig else ""),
            evidence="\n".join(map(str, fragments)),
            advice=f"build it (about 5 minutes, once): kmod-harness kernel build {name}{options}"
            + ("" if kconfig or name.of else ", or `make kernel` in a checkout"),
        )
    return _in_build_dir(build_dir) if kconfig else kernel_in_build_dir(build_dir, name=str(name))


def _of_release(of: str, build_dir: Path | None) -> Path | None:
    """Returns the build directory if its kernel is of that release, such as 6.12."""
    if build_dir is None or not of[:1].isdigit():
        return None
    return build_dir if _in_build_dir(build_dir).release.startswith(f"{of}.") else None


def _in_build_dir(build_dir: Path) -> Kernel:
    """Returns a kernel named by its path, for one with more fragments or of an earlier build."""
    return kernel_in_build_dir(build_dir, name=str(build_dir))


def _debian(name: KernelName, *, build: bool, cache: Cache) -> Kernel:
    from kmod_harness.build.kernel.debian_kernel import (  # lazy
        download_debian_kernel,
        downloaded_debian_kernel,
    )

    kernel = (download_debian_kernel if build else downloaded_debian_kernel)(cache, name.of)
    if kernel is None:
        raise Misuse(
            f"Debian's kernel{f' of {name.of}' if name.of else ''} is not downloaded yet",
            advice=f"get it (seconds, no compile): kmod-harness kernel build {name}",
        )
    return kernel


def host_kernel() -> Kernel:
    """Returns the running machine's own kernel. Raises Misuse when its image is not on this machine."""
    release = os.uname().release
    modules = Path("/lib/modules") / release
    image = next(
        (path for path in (Path(f"/boot/vmlinuz-{release}"), modules / "vmlinuz") if path.exists()), None
    )
    if image is None:
        raise Misuse(
            f"the running kernel's image is missing: /boot/vmlinuz-{release}",
            evidence="in a container or a microVM the kernel lies outside",
            advice="use --kernel minimal or --kernel debian",
        )
    build = modules / "build"
    return Kernel(
        name="host",
        release=bzimage_release(image),
        bzimage=image,
        build_dir=build if (build / "Makefile").is_file() else None,
        config=existing(Path(f"/boot/config-{release}")),
        vmlinux=existing(Path(f"/usr/lib/debug/boot/vmlinux-{release}")),
        modules_dir=modules if (modules / "modules.order").is_file() else None,
        symvers=existing(build / "Module.symvers"),
    )


def kernel_at(path: Path, cache: Cache | None = None) -> Kernel:
    """Returns the kernel at a path: a bzImage, a kernel build directory, a .deb, or what it was unpacked to.

    cache: where a .deb is unpacked, None for the user's

    Raises Misuse when it is missing, unreadable or something else.
    """
    expected = (
        f"expected a bzImage (vmlinuz), a kernel build directory with {_BZIMAGE}, a kernel's .deb, or the "
        "directory that one was unpacked to"
    )
    try:
        is_directory = path.is_dir()
        exists = path.exists()
    except OSError as error:
        raise Misuse(f"cannot look at the kernel {path}; {expected}", evidence=str(error)) from None
    if not exists:
        raise Misuse(
            f"there is no kernel {path}; {expected}",
            advice="or a name: minimal, minimal@6.12, debian, debian@trixie, host",
        )
    if is_directory and (path / _BZIMAGE).is_file():
        return kernel_in_build_dir(path.absolute(), name=str(path))
    if is_directory and images_in(path):
        return kernel_in_root(path.absolute(), name=str(path))
    if is_directory:
        raise Misuse(f"{path} is a directory without a built kernel; {expected}")
    if path.suffix == ".deb":
        return kernel_in_package(path.absolute(), cache or default_cache())
    return kernel_around(path, name=str(path))


def kernel_in_build_dir(build_dir: Path, *, name: str) -> Kernel:
    """Returns the kernel in a kbuild build directory."""
    bzimage = build_dir / _BZIMAGE
    order = build_dir / "modules.order"
    try:
        release = (build_dir / "include/config/kernel.release").read_text().strip()
        has_modules = order.stat().st_size > 0
    except OSError:
        release, has_modules = bzimage_release(bzimage), order.is_file()
    return Kernel(
        name=name,
        release=release,
        bzimage=bzimage,
        build_dir=build_dir if (build_dir / "Makefile").is_file() else None,
        system_map=existing(build_dir / "System.map"),
        config=existing(build_dir / ".config"),
        vmlinux=existing(build_dir / "vmlinux"),
        modules_dir=build_dir if has_modules else None,
        symvers=existing(build_dir / "Module.symvers"),
    )
