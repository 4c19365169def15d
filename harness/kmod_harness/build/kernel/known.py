"""The kernels that are known on this machine, and the one that a Spec names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kmod_harness.build.cache import Cache, default_cache
from kmod_harness.build.kernel.bzimage import bzimage_release
from kmod_harness.build.kernel.kernel import Kernel, existing
from kmod_harness.build.kernel.kernel_of_module import kernel_of_module
from kmod_harness.errors import KmodHarnessError, Misuse
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.spec.spec import Spec

_BZIMAGE = "arch/x86/boot/bzImage"


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
    name = spec.kernel
    if spec.kconfig and name not in ("", "minimal"):
        raise Misuse(
            f"kconfig fragments were given with the kernel {name!r}, but only `minimal` is built from them",
            advice="leave out --kernel, or the fragments",
        )
    if name == "" and not spec.kconfig and module is not None:
        kernel = kernel_of_module(module, known_kernels(cache=cache))
        if kernel is not None:
            return kernel
    if name in ("", "minimal"):
        return _minimal(spec.kconfig, build=build, source=source, cache=cache)
    if name == "debian":
        return _debian(build=build, cache=cache)
    if name == "host":
        return host_kernel()
    return kernel_at(Path(name))


def known_kernels(*, cache: Cache | None = None) -> tuple[Kernel, ...]:
    """Returns the kernels that can be booted now: `minimal` (the current one first), `debian`, `host`."""
    cache = cache or default_cache()
    found: dict[Path, Kernel] = {}
    for kernel in (*_current(cache), *_built(cache)):
        found.setdefault(kernel.bzimage, kernel)
    try:
        host = host_kernel()
    except KmodHarnessError:
        return tuple(found.values())
    return (*found.values(), host)


def _current(cache: Cache) -> tuple[Kernel, ...]:
    found = []
    for name in ("minimal", "debian"):
        try:
            found.append(resolve_kernel(Spec(kernel=name), cache=cache))
        except Misuse:
            continue
    return tuple(found)


def _built(cache: Cache) -> tuple[Kernel, ...]:
    entries = reversed(cache.entries("kernel"))
    return tuple(_in_build_dir(entry.path / "build") for entry in entries)


def _minimal(kconfig: Sequence[str], *, build: bool, source: str | Path | None, cache: Cache) -> Kernel:
    from kmod_harness.build.kernel.from_source import build_kernel, built_kernel  # lazy
    from kmod_harness.build.kernel.kbuild import refuse_odd_path  # lazy
    from kmod_harness.host.resources import kconfig_fragment, minimal_config  # lazy

    fragments = (minimal_config(), *map(kconfig_fragment, kconfig))
    build_dir = built_kernel(fragments, cache=cache) if source is None or not build else None
    if build_dir is None and build:
        refuse_odd_path(cache.root, advice="set XDG_CACHE_HOME to a directory without them")
        build_dir = build_kernel(fragments, source=source or "", cache=cache)
    if build_dir is None:
        options = "".join(f" --kconfig {fragment}" for fragment in kconfig)
        raise Misuse(
            "the minimal kernel is not built yet" + (" with these fragments" if kconfig else ""),
            evidence="\n".join(map(str, fragments)),
            advice=f"build it (about 5 minutes, once): kmod-harness kernel build minimal{options}"
            + ("" if kconfig else ", or `make kernel` in a checkout"),
        )
    return _in_build_dir(build_dir) if kconfig else kernel_in_build_dir(build_dir, name="minimal")


def _in_build_dir(build_dir: Path) -> Kernel:
    """Returns a kernel named by its path, for one with more fragments or of an earlier build."""
    return kernel_in_build_dir(build_dir, name=str(build_dir))


def _debian(*, build: bool, cache: Cache) -> Kernel:
    from kmod_harness.build.kernel.debian_kernel import (  # lazy
        download_debian_kernel,
        downloaded_debian_kernel,
    )

    tree = download_debian_kernel(cache) if build else downloaded_debian_kernel(cache)
    if tree is None:
        raise Misuse(
            "Debian's kernel is not downloaded yet",
            advice="get it (seconds, no compile): kmod-harness kernel build debian",
        )
    return Kernel(
        name="debian",
        release=tree.release,
        bzimage=tree.bzimage,
        build_dir=tree.build_dir,
        config=tree.config,
        modules_dir=tree.modules_dir,
        symvers=tree.build_dir / "Module.symvers",
    )


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


def kernel_at(path: Path) -> Kernel:
    """Returns the kernel at a path: a bzImage, or a kernel build directory that holds one.

    Raises Misuse when it is missing, unreadable or something else.
    """
    expected = f"expected a bzImage (vmlinuz) or a kernel build directory with {_BZIMAGE}"
    try:
        is_directory = path.is_dir()
        exists = path.exists()
    except OSError as error:
        raise Misuse(f"cannot look at the kernel {path}; {expected}", evidence=str(error)) from None
    if not exists:
        raise Misuse(
            f"there is no kernel {path}; {expected}", advice="or one of the names minimal, debian, host"
        )
    if not is_directory:
        return _image_at(path)
    if not (path / _BZIMAGE).is_file():
        raise Misuse(f"{path} is a directory without a built kernel; {expected}")
    return kernel_in_build_dir(path.absolute(), name=str(path))


def _image_at(path: Path) -> Kernel:
    """Returns a bzImage with the files around it: config-*, System.map-*, vmlinux-*, ../lib/modules/*."""
    release, image = bzimage_release(path), path.absolute()
    trees = (image.parent.parent / lib / "modules" / release for lib in ("lib", "usr/lib"))
    return Kernel(
        name=str(path),
        release=release,
        bzimage=image,
        config=existing(image.parent / f"config-{release}"),
        system_map=existing(image.parent / f"System.map-{release}"),
        vmlinux=existing(image.parent / f"vmlinux-{release}"),
        modules_dir=next((tree for tree in trees if (tree / "modules.order").is_file()), None),
    )


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
