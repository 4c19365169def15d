"""A kernel that comes with modules of its own: the run's kernel, with the sample modules beside its image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kmod_harness.build.kernel.kernel import Kernel


def kernel_with_modules(
    kernel: Kernel, place: Path, files: Mapping[str, bytes], texts: Mapping[str, str]
) -> Path:
    """Returns the path of the kernel's image in a directory laid out as Debian's packages are.

    files: name -> bytes of the .ko files in lib/modules/RELEASE/kernel
    texts: name -> text of depmod's files beside it
    """
    boot, modules = place / "boot", place / "lib/modules" / kernel.release
    boot.mkdir()
    image = boot / f"vmlinuz-{kernel.release}"
    image.symlink_to(kernel.bzimage)
    for name, path in (
        ("config", kernel.config),
        ("System.map", kernel.system_map),
        ("vmlinux", kernel.vmlinux),
    ):
        if path is not None:
            (boot / f"{name}-{kernel.release}").symlink_to(path)
    (modules / "kernel").mkdir(parents=True)
    for name, data in files.items():
        (modules / "kernel" / name).write_bytes(data)
    for name, text in {"modules.order": "".join(f"kernel/{name}\n" for name in files), **texts}.items():
        (modules / name).write_text(text)
    return image
