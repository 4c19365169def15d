"""From a Spec to a running guest: the one place where build products meet machine and guest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from .build.agent import compile_agent
from .build.cache import Cache, default_cache, digest_of, file_digest
from .build.initrd import channel_modules, combine, harness_archive, rootfs_paths
from .build.kernels import Kernel, resolve_kernel
from .build.rootfs import embedded_rootfs
from .errors import Misuse
from .guest import Guest
from .kmod.preflight import KernelFacts
from .machine import Accelerator, Clock, Machine, RamFile, choose_accelerator, find_qemu
from .spec import Spec


@dataclass(frozen=True)
class Prepared:
    """Everything a boot needs, found or built: no more compiling, no more searching."""

    spec: Spec
    kernel: Kernel
    rootfs: Path
    initrd: Path
    accelerator: Accelerator
    qemu: str

    def guest_paths(self) -> dict[str, str]:
        """Returns the image's absolute paths, each with its symlink's target or ""; {} if unknown."""
        return rootfs_paths(self.rootfs)

    def kernel_facts(self) -> KernelFacts:
        """Returns what is known of the kernel, with the modules that the channels load."""
        from .build.facts import kernel_facts

        return kernel_facts(self.kernel, channel_modules(self.kernel))


def prepare(
    spec: Spec, *, module_release: str = "", build: bool = False, kernel_source: str = ""
) -> Prepared:
    """Returns what `boot` needs.

    `module_release` chooses the kernel when the spec names none. `build` makes what
    is missing; without it, Misuse names the command that does. A spec that cannot
    be found raises Misuse with the path and what was expected.
    """
    cache = default_cache()
    qemu = find_qemu()
    kernel = resolve_kernel(
        spec, module_release=module_release, build=build, source=kernel_source, cache=cache
    )
    rootfs = _rootfs(spec, cache)
    if spec.firmware and not Path(spec.firmware).is_file():
        raise Misuse(
            f"there is no firmware image {spec.firmware}", advice="--firmware takes a file for QEMU's -bios"
        )
    return Prepared(
        spec=replace(spec, kernel=spec.kernel or kernel.name),
        kernel=kernel,
        rootfs=rootfs,
        initrd=_initrd(kernel, rootfs, cache),
        accelerator=choose_accelerator(qemu, spec.accelerator, cache.root),
        qemu=qemu,
    )


@contextlib.contextmanager
def boot(
    prepared: Prepared,
    *,
    cold: bool = True,
    boot_timeout: float | None = None,
    clock: Clock | None = None,
) -> Iterator[Guest]:
    """Gives a guest and ends it: no QEMU, socket or directory is left.

    Unless `cold`, the guest is restored from the machine's template, booted and
    saved when there is none yet. `boot_timeout` is in seconds, exact. Raises
    BootFailed, QemuDied, Misuse (QEMU refuses an argument).
    """
    if cold:
        with start_guest(prepared, boot_timeout, clock) as guest:
            yield guest
        return
    from .standby import GuestSource

    source = GuestSource(prepared, standby=False, boot_timeout=boot_timeout, clock=clock)
    with source, source.guest() as guest:
        yield guest


@contextlib.contextmanager
def start_guest(
    prepared: Prepared, boot_timeout: float | None = None, clock: Clock | None = None
) -> Iterator[Guest]:
    """Boots a guest from its kernel's first instruction on."""
    with start_machine(prepared, clock=clock) as machine:
        yield Guest(machine, kernel_facts=prepared.kernel_facts, boot_timeout=boot_timeout)


def start_machine(
    prepared: Prepared,
    *,
    ram: RamFile | None = None,
    incoming: bool = False,
    stopped: bool = False,
    clock: Clock | None = None,
) -> Machine:
    """Returns a started machine, the guest not yet awaited.

    `ram` puts its RAM in a file; `incoming`: it waits for a device state; `stopped`: its CPUs are halted.
    """
    return Machine(
        prepared.spec,
        prepared.kernel.bzimage,
        prepared.initrd,
        prepared.accelerator,
        qemu=prepared.qemu,
        ram=ram,
        incoming=incoming,
        stopped=stopped,
        clock=clock,
    )


def _rootfs(spec: Spec, cache: Cache) -> Path:
    if spec.rootfs == "embedded":
        return embedded_rootfs(cache)
    path = Path(spec.rootfs)
    if spec.rootfs == "buildroot" or not path.is_file():
        raise Misuse(
            f"there is no root file system {spec.rootfs}",
            advice="--rootfs takes `embedded` or the path of a cpio archive (plain, gzip, xz)",
        )
    return path


def _initrd(kernel: Kernel, rootfs: Path, cache: Cache) -> Path:
    """Returns the image's archive with the harness's own behind it, made once per content."""
    archive = harness_archive(compile_agent(cache), channel_modules(kernel, cache=cache))

    def build(entry: Path) -> dict[str, object]:
        combine(rootfs, archive, entry / "initrd.cpio", cache=cache)
        return {"rootfs": str(rootfs)}

    key = digest_of(file_digest(rootfs), archive)[:20]
    return cache.entry("initrd", key, build) / "initrd.cpio"
