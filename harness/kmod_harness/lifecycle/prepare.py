"""From a Spec to a started machine: the place where build products meet machine and guest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from kmod_harness.build.cache import Cache, default_cache, digest_of, file_digest
from kmod_harness.build.image.agent import compile_agent
from kmod_harness.build.image.disk_paths import disk_paths
from kmod_harness.build.image.embedded import embedded_rootfs
from kmod_harness.build.image.initrd import channel_modules, combine, harness_archive, rootfs_paths
from kmod_harness.build.image.root_disk import DEVICE, DRIVERS, TYPE, is_root_disk, require_driver
from kmod_harness.build.kernel.bootable import require_bootable
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.build.kernel.known import resolve_kernel
from kmod_harness.errors import Misuse
from kmod_harness.guest.guest import Guest
from kmod_harness.kmod.elf.module import KernelModule
from kmod_harness.kmod.loading.depmod_files import module_name
from kmod_harness.kmod.loading.own_modules import OwnModules
from kmod_harness.kmod.preflight import KernelFacts
from kmod_harness.machine.accelerator import Accelerator, choose_accelerator
from kmod_harness.machine.argv import RamFile, kernel_command_line
from kmod_harness.machine.deadline import Clock, boot_limit
from kmod_harness.machine.disks import DiskFile
from kmod_harness.machine.machine import Machine, find_qemu
from kmod_harness.spec.spec import Disk, Spec, parse_disk


@dataclass(frozen=True)
class Prepared:
    """The files that a spec resolves to: everything a boot needs, found or built.

    spec: the spec, with its kernel named
    kernel: the kernel's files
    rootfs: root file system, an archive or a disk image
    initrd: initramfs that is booted
    accelerator: KVM or software emulation
    qemu: path of the QEMU program
    disks: disks to attach
    """

    spec: Spec
    kernel: Kernel
    rootfs: Path
    initrd: Path
    accelerator: Accelerator
    qemu: str
    disks: tuple[DiskFile, ...] = ()

    def guest_paths(self) -> dict[str, str]:
        """Returns the image's absolute paths, each with the target of a symlink or ""; {} where unknown."""
        return disk_paths(self.rootfs) if is_root_disk(self.rootfs) else rootfs_paths(self.rootfs)

    def kernel_facts(self) -> KernelFacts:
        """Returns the facts about the kernel that decide whether it takes a module.

        The modules of the harness's channels count as loaded.
        """
        return self._facts

    @cached_property
    def _facts(self) -> KernelFacts:
        from kmod_harness.build.kernel.facts import kernel_facts  # lazy

        return kernel_facts(self.kernel, self._channel_modules)

    @cached_property
    def _channel_modules(self) -> tuple[Path, ...]:
        return channel_modules(self.kernel, more=DRIVERS if is_root_disk(self.rootfs) else ())

    @property
    def present_modules(self) -> frozenset[str]:
        """The plain names of the modules that the harness's init loads."""
        return frozenset(module_name(path.name) for path in self._channel_modules)

    @cached_property
    def own_modules(self) -> OwnModules:
        """The kernel's own modules, by name; what is large of them is read when it is needed."""
        from kmod_harness.build.kernel.own_modules import own_modules  # lazy

        return own_modules(self.kernel)


def prepare(
    spec: Spec,
    *,
    module: KernelModule | None = None,
    build: bool = False,
    kernel_source: str | None = None,
) -> Prepared:
    """Returns everything `boot` needs.

    spec: what to boot
    module: the module that chooses the kernel where the spec names none
    build: True builds what is missing; otherwise Misuse names the command that does
    kernel_source: source to build the kernel from, None for any

    Raises Misuse with the path and what was expected, where something named in the spec cannot be found.
    """
    cache = default_cache()
    qemu = find_qemu()
    kernel = resolve_kernel(spec, module=module, build=build, source=kernel_source, cache=cache)
    require_bootable(kernel, spec.cpus, kernel_command_line(spec))
    rootfs = _rootfs(spec, cache)
    if spec.firmware and not Path(spec.firmware).is_file():
        raise Misuse(
            f"there is no firmware image {spec.firmware}", advice="--firmware takes a file for QEMU's -bios"
        )
    disks = list(spec.disks)
    if is_root_disk(rootfs):
        require_driver(kernel, rootfs)
        disks.insert(0, str(rootfs))
    return Prepared(
        spec=replace(spec, kernel=spec.kernel or ("minimal" if spec.kconfig else kernel.name)),
        kernel=kernel,
        rootfs=rootfs,
        initrd=_initrd(spec, kernel, rootfs, cache),
        accelerator=choose_accelerator(qemu, spec.accelerator, cache.root),
        qemu=qemu,
        disks=tuple(_disk(parse_disk(text), cache) for text in disks),
    )


@contextlib.contextmanager
def start_guest(
    prepared: Prepared, boot_timeout: float | None = None, clock: Clock | None = None
) -> Iterator[Guest]:
    """Gives a guest that is booted cold; `boot_timeout` is in seconds."""
    with start_machine(prepared, clock=clock) as machine:
        yield Guest(
            machine,
            kernel_facts=prepared.kernel_facts,
            own_modules=lambda: prepared.own_modules,
            boot_timeout=boot_timeout,
        )


def start_machine(
    prepared: Prepared,
    *,
    disks: Sequence[DiskFile] | None = None,
    ram: RamFile | None = None,
    incoming: bool = False,
    state: Path | None = None,
    stopped: bool = False,
    clock: Clock | None = None,
) -> Machine:
    """Returns a started machine without waiting for its guest.

    prepared: the files to start it with
    disks: the disks of a saved guest, in place of the machine's own
    ram: file for the guest's RAM
    incoming: True waits for a saved device state
    state: saved device state to run on from
    stopped: True leaves the CPUs halted
    clock: clock of the machine's deadlines
    """
    disks = prepared.disks if disks is None else disks
    cache = default_cache()
    # a session may last for hours; its files must not be pruned meanwhile
    of_disks = (path for disk in disks for path in (disk.file, disk.blank) if path is not None)
    for path in (prepared.kernel.bzimage, prepared.initrd, *of_disks):
        cache.mark_used(path)
    machine = Machine(
        prepared.spec,
        prepared.kernel.bzimage,
        prepared.initrd,
        prepared.accelerator,
        qemu=prepared.qemu,
        disks=disks,
        ram=ram,
        incoming=incoming,
        state=state,
        stopped=stopped,
        clock=clock,
    )
    config = prepared.kernel.config
    # a restored guest has already booted
    if state is None and config is not None and config.is_file():
        machine.boot_limit = boot_limit(config.read_text(errors="replace"))
    return machine


def _rootfs(spec: Spec, cache: Cache) -> Path:
    if spec.rootfs == "embedded":
        return embedded_rootfs(cache)
    if spec.rootfs in ("buildroot", "buildroot-ext4"):
        from kmod_harness.build.buildroot.images import built_images, image_of  # lazy

        images = built_images(cache)
        if images is None:
            raise Misuse(
                f"the root file system {spec.rootfs} was not built yet",
                advice=f"kmod-harness rootfs {spec.rootfs} (minutes), or `make rootfs ROOTFS={spec.rootfs}`",
            )
        return image_of(images, "ext4" if spec.rootfs == "buildroot-ext4" else "cpio")
    path = Path(spec.rootfs)
    if not path.is_file():
        raise Misuse(
            f"{spec.rootfs} is a directory, and no root file system"
            if path.is_dir()
            else f"there is no root file system {spec.rootfs}",
            advice="--rootfs takes `embedded`, `buildroot`, `buildroot-ext4`, or the path of a cpio archive"
            " (plain, gzip, xz) or of an ext4 image",
        )
    return path


def _disk(disk: Disk, cache: Cache) -> DiskFile:
    from kmod_harness.build.image.disk_image import blank_disk  # lazy

    file = Path(disk.file).absolute()
    if not file.is_file():
        raise Misuse(f"there is no disk {disk.file}", advice="a disk is FILE[,format=raw|qcow2][,ro]")
    return DiskFile(file, disk.format, None if disk.read_only else blank_disk(file, disk.format, cache))


def _initrd(spec: Spec, kernel: Kernel, rootfs: Path, cache: Cache) -> Path:
    """Returns the image's archive with the harness's own behind it, made once per content.

    With all modules those follow. Raises Misuse: there are none, or no room for them.
    """
    agent = compile_agent(cache)
    if is_root_disk(rootfs):
        if spec.modules == "all":
            raise Misuse(
                f"{rootfs} is a disk: --modules all goes with a root file system in memory",
                advice=f"put /lib/modules/{kernel.release} into the image",
            )
        archive = harness_archive(
            agent, channel_modules(kernel, more=DRIVERS, cache=cache), root=(DEVICE, TYPE)
        )

        def write(entry: Path) -> dict[str, object]:
            (entry / "initrd.cpio").write_bytes(archive)
            return {"root": DEVICE}

        return cache.entry("initrd", digest_of(archive)[:20], write) / "initrd.cpio"
    archive = harness_archive(agent, channel_modules(kernel, cache=cache))
    if spec.modules == "all":
        return _initrd_with_modules(spec, kernel, rootfs, archive, cache)

    def build(entry: Path) -> dict[str, object]:
        combine(rootfs, archive, entry / "initrd.cpio", cache=cache)
        return {"rootfs": str(rootfs)}

    key = digest_of(file_digest(rootfs), archive)[:20]
    return cache.entry("initrd", key, build) / "initrd.cpio"


def _initrd_with_modules(spec: Spec, kernel: Kernel, rootfs: Path, archive: bytes, cache: Cache) -> Path:
    from kmod_harness.build.image.own_modules_archive import (  # lazy
        modules_identity,
        own_modules_archive,
        require_memory,
    )
    from kmod_harness.build.kernel.own_modules import own_modules  # lazy

    own = own_modules(kernel)
    key = digest_of(file_digest(rootfs), archive, *modules_identity(own))[:20]

    def build(entry: Path) -> dict[str, object]:
        modules = own_modules_archive(own, rootfs_paths(rootfs, cache=cache))
        combine(rootfs, archive + modules, entry / "initrd.cpio", cache=cache)
        return {"rootfs": str(rootfs), "modules": str(kernel.modules_dir)}

    initrd = cache.entry("initrd", key, build) / "initrd.cpio"
    require_memory(initrd, spec.memory_mib)
    return initrd
