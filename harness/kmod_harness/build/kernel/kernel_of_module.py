"""Which of several kernels a module was built for: never a guess."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.errors import Misuse
from kmod_harness.kmod.elf.compile_directory import compile_directory
from kmod_harness.kmod.elf.module import KernelModule


def kernel_of_module(module: KernelModule, kernels: Sequence[Kernel]) -> Kernel | None:
    """Returns the kernel that a module was built for, None where none here has its release.

    module: the module; its vermagic names the release
    kernels: those that are here, the preferred ones first

    Of several the one is taken in whose build directory the module was compiled (its debug information names
    it up to Linux 6.12). Else those of one source and one configuration are the same to it. Raises Misuse
    where that does not settle it.
    """
    candidates = [kernel for kernel in kernels if kernel.release == module.release]
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    directory = compile_directory(module.data)
    for kernel in candidates:
        if directory and kernel.build_dir is not None and _is_same(Path(directory), kernel.build_dir):
            return kernel
    different: dict[tuple[str, str], Kernel] = {}
    for kernel in candidates:
        different.setdefault((_source(kernel), _configuration(kernel)), kernel)
    if len(different) == 1:
        return candidates[0]
    raise Misuse(
        f"{module.path.name} was built for Linux {module.release}, and {len(different)} different kernels "
        "here have that release",
        evidence="\n".join(_shown(kernel) for kernel in different.values()),
        advice="say which one: "
        + ", or ".join(f"--kernel {kernel.name}" for kernel in different.values())
        + "\nkernels that are built with a fragment from now on have a release of their own",
    )


def _source(kernel: Kernel) -> str:
    """Returns the source tree that it was built from; its image's path where that is not known."""
    link = kernel.build_dir / "source" if kernel.build_dir is not None else None
    return str(link.resolve() if link is not None and link.exists() else kernel.bzimage)


def _configuration(kernel: Kernel) -> str:
    """Returns the text of its configuration, without comments; its image's path where there is none."""
    if kernel.config is None:
        return str(kernel.bzimage)
    lines = kernel.config.read_text(errors="replace").splitlines()
    return "\n".join(line for line in lines if line.startswith("CONFIG_"))


def _shown(kernel: Kernel) -> str:
    where = kernel.build_dir or kernel.bzimage
    return kernel.name if kernel.name == str(where) else f"{kernel.name}: {where}"


def _is_same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
