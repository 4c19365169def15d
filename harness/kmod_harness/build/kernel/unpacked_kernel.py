"""A distribution's kernel with the files around it: on a machine, or where its packages were unpacked."""

from __future__ import annotations

import re
from pathlib import Path

from kmod_harness.build.cache import Cache, digest_of, file_digest
from kmod_harness.build.debian_packages import unpack_archive
from kmod_harness.build.kernel.bzimage import bzimage_release
from kmod_harness.build.kernel.kernel import Kernel, existing
from kmod_harness.errors import Misuse

_KIND = "unpacked-kernel"
_STUB_BYTES = 4096
_MODULES = ("lib/modules", "usr/lib/modules")
#: The source's Makefile that the headers include, and from 6.13 on (Debian's) the directory of their own.
_ABSOLUTE = re.compile(r"^(include |KBUILD_OUTPUT *:?= *)(/usr/)", re.MULTILINE)


def images_in(root: Path) -> list[Path]:
    """Returns the kernel images below a root: boot/vmlinuz-RELEASE, or lib/modules/RELEASE/vmlinuz."""
    found = sorted((root / "boot").glob("vmlinuz-*"))
    return found or [path for modules in _MODULES for path in sorted((root / modules).glob("*/vmlinuz"))]


def kernel_around(image: Path, *, name: str, release: str = "") -> Kernel:
    """Returns the kernel of an image with what lies where packages put it.

    image: the bzImage, as boot/vmlinuz-RELEASE or lib/modules/RELEASE/vmlinuz, or anywhere
    release: its release, "" to read it from the image

    Its configuration, System.map and vmlinux lie beside it, its modules in lib/modules/RELEASE, its headers
    in usr/src/linux-headers-RELEASE. Raises Misuse for a file that is no bzImage.
    """
    image = image.absolute()
    release = release or bzimage_release(image)
    in_modules = image.parent.name == release and image.parent.parent.name == "modules"
    root = _root_of(image.parent) if in_modules else image.parent.parent
    suffix = "" if in_modules else f"-{release}"
    modules = next((path for path in (root / part / release for part in _MODULES) if path.is_dir()), None)
    headers = (root / "usr/src" / f"linux-headers-{release}", *((modules / "build",) if modules else ()))
    build_dir = next((path for path in headers if (path / "Makefile").is_file()), None)
    return Kernel(
        name=name,
        release=release,
        bzimage=image,
        build_dir=build_dir,
        config=existing(image.parent / f"config{suffix}"),
        system_map=_system_map(image.parent / f"System.map{suffix}"),
        vmlinux=existing(image.parent / f"vmlinux{suffix}"),
        modules_dir=modules if modules is not None and (modules / "modules.order").is_file() else None,
        symvers=existing(build_dir / "Module.symvers") if build_dir is not None else None,
    )


def kernel_in_root(root: Path, *, name: str) -> Kernel:
    """Returns the one kernel of a directory that packages were unpacked into.

    Raises Misuse for none or two.
    """
    images = images_in(root)
    if len(images) != 1:
        raise Misuse(
            f"{root} holds {len(images)} kernel images; expected one, as boot/vmlinuz-RELEASE or "
            "lib/modules/RELEASE/vmlinuz",
            evidence="\n".join(map(str, images)),
        )
    release = images[0].name.removeprefix("vmlinuz-")
    return kernel_around(
        images[0], name=name, release=images[0].parent.name if release == "vmlinuz" else release
    )


def kernel_in_package(archive: Path, cache: Cache) -> Kernel:
    """Returns the kernel in a .deb, unpacked once, with the packages of the same version beside it.

    Those are what distributions split off: linux-modules-*, linux-headers-* (deb(5): NAME_VERSION_ARCH.deb).
    Raises Misuse when they hold no kernel image, BuildFailed for a broken one.
    """
    version = archive.name.split("_")[1] if archive.name.count("_") >= 2 else ""
    beside = sorted(archive.parent.glob(f"linux-*_{version}_*.deb")) if version else []
    archives = [archive, *(path for path in beside if path != archive and "-dbg" not in path.name)]

    def build(entry: Path) -> dict[str, object]:
        for path in archives:
            unpack_archive(path, entry / "tree")
        kernel = kernel_in_root(entry / "tree", name=str(archive))
        relocate_headers(entry / "tree", kernel)
        return {"release": kernel.release, "packages": [path.name for path in archives]}

    key = digest_of(*(file_digest(path) for path in archives))
    return kernel_in_root(cache.entry(_KIND, key, build) / "tree", name=str(archive))


def relocate_headers(tree: Path, kernel: Kernel) -> None:
    """Changes the absolute paths in the headers' Makefile, and the links to them beside the modules.

    tree: the directory that the packages were unpacked into
    """
    if kernel.build_dir is not None:
        makefile = kernel.build_dir / "Makefile"
        if not makefile.is_symlink():
            text = makefile.read_text()
            makefile.write_text(_ABSOLUTE.sub(rf"\1{tree}\2", text))
    for name in ("build", "source"):
        link = (kernel.modules_dir or tree) / name
        if link.is_symlink() and link.readlink().is_absolute():
            target = tree / link.readlink().relative_to("/")
            link.unlink()
            link.symlink_to(target)


def unpacked_kernels(cache: Cache) -> tuple[Kernel, ...]:
    """Returns the kernels of packages that were given before, the newest use first, named by their images."""
    roots = (entry.path / "tree" for entry in reversed(cache.entries(_KIND)))
    return tuple(kernel_in_root(root, name=str(images_in(root)[0])) for root in roots if images_in(root))


def _system_map(path: Path) -> Path | None:
    """Returns a System.map that has symbols: Debian's only names the package with the real one."""
    return path if path.is_file() and path.stat().st_size > _STUB_BYTES else None


def _root_of(modules: Path) -> Path:
    """Returns the root that a lib/modules/RELEASE or usr/lib/modules/RELEASE lies in."""
    above = modules.parent.parent.parent
    return above.parent if above.name == "usr" else above
