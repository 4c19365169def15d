"""The description of a machine that the command line, the fixtures and the caches share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from kmod_harness.spec.kernel_name import parse_kernel_name

#: Root file systems known by name; anything else is a path.
ROOTFS_NAMES = ("embedded", "buildroot", "buildroot-ext4")
#: What modprobe finds in the guest.
MODULES = ("needed", "all")
#: MiB of a guest with all modules for which nothing else was said.
MEMORY_WITH_MODULES = 768
#: Formats of a disk's file.
DISK_FORMATS = ("raw", "qcow2")


class SpecError(ValueError):
    """A field of a Spec is out of range; the text names the field and the allowed values."""


@dataclass(frozen=True)
class Disk:
    """A disk as the user wrote it.

    file: path of the image
    format: `raw` or `qcow2`
    read_only: True where the guest may not write to it
    """

    file: str
    format: str
    read_only: bool


@dataclass(frozen=True)
class Spec:
    """A machine to boot.

    kernel: `minimal`, `minimal@6.12`, `debian`, `debian@trixie`, `host`; the path of a bzImage, of a kernel
        build directory, of a kernel's .deb or of a directory it was unpacked to; or "" for the kernel that
        the first module was built for
    rootfs: `embedded`, `buildroot`, `buildroot-ext4`, or the path of a cpio archive (plain or compressed) or
        of a file system image (ext2, ext3 or ext4, without partitions). An image is the first disk, /dev/vda:
        the initramfs then holds only the harness's own init, which mounts the image and changes to it before
        it starts the agent and the image's init
    kconfig: fragments laid over minimal.config, in order, each by name or path; they make another kernel
    append: words added to the kernel's command line
    cpus: number of CPUs, 1 to 64
    memory_mib: guest RAM in MiB
    disks: `FILE[,format=raw|qcow2][,ro]` (see `parse_disk`), attached by virtio-blk in this order as
        /dev/vda, vdb, ..., after an image that is the root file system. Each guest writes to a copy-on-write
        layer of its own; FILE itself is never written
    devices: arguments of QEMU's `-device`
    qemu_args: raw arguments, last on QEMU's command line
    firmware: a BIOS image for QEMU's `-bios`, "" for QEMU's own
    ssh: False leaves out the network card, whose port 22 is forwarded from the host's loopback
    network: True lets the guest reach the outside through that card
    modules: what modprobe and request_module find in the guest: `needed` for what was loaded there, `all` for
        all of the kernel's own too, which lie in the guest's memory
    accelerator: `auto`, `tcg` or `kvm`
    """

    kernel: str = ""
    rootfs: str = "embedded"
    kconfig: tuple[str, ...] = ()
    append: tuple[str, ...] = ()
    cpus: int = 1
    memory_mib: int = 256
    disks: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    qemu_args: tuple[str, ...] = ()
    firmware: str = ""
    ssh: bool = True
    network: bool = False
    modules: str = "needed"
    accelerator: str = field(default="auto")

    def __post_init__(self) -> None:
        for name in ("kconfig", "append", "disks", "devices", "qemu_args"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise SpecError(f"{name} is a sequence of strings, not one string: {value!r}")
            object.__setattr__(self, name, tuple(value))
        try:
            parse_kernel_name(self.kernel)
        except ValueError as error:
            raise SpecError(str(error)) from None
        if not 1 <= self.cpus <= 64:
            raise SpecError(f"cpus must be between 1 and 64, not {self.cpus}")
        if not 64 <= self.memory_mib <= 1 << 20:
            raise SpecError(f"memory_mib must be between 64 and 1048576, not {self.memory_mib}")
        if self.accelerator not in ("auto", "tcg", "kvm"):
            raise SpecError(f"accelerator must be auto, tcg or kvm, not {self.accelerator!r}")
        if self.modules not in MODULES:
            raise SpecError(f"modules must be needed or all, not {self.modules!r}")
        for word in self.append:
            if re.search(r"[\n\0]", word):
                raise SpecError(f"append word holds a newline or NUL: {word!r}")
        for disk in self.disks:
            parse_disk(disk)


def parse_size_mib(text: str) -> int:
    """Returns MiB for `512`, `512M` or `2G` (QEMU's `-m` spelling).

    >>> parse_size_mib("2G")
    2048
    """
    match = re.fullmatch(r"(\d+)([MmGg]?)", text.strip())
    if match is None:
        raise SpecError(f"a memory size is a number with M or G behind it, not {text!r}")
    return int(match[1]) * (1024 if match[2] in ("G", "g") else 1)


def parse_disk(text: str) -> Disk:
    """Returns the disk for `FILE[,format=raw|qcow2][,ro]`; a comma in FILE is a comma.

    A file named *.qcow2 is taken for that format, any other for raw: QEMU's own guess reads what a
    guest may have written (qemu-system(1), -drive format). Raises SpecError.

    >>> parse_disk("a,b.img,ro")
    Disk(file='a,b.img', format='raw', read_only=True)
    >>> parse_disk("root.qcow2").format
    'qcow2'
    """
    file, format, read_only = text, "", False
    while match := re.fullmatch(r"(.*),(ro|format=([a-z0-9]*))", file, re.DOTALL):
        file = match[1]
        read_only = read_only or match[2] == "ro"
        format = format or (match[3] or "")
    format = format or ("qcow2" if file.endswith(".qcow2") else "raw")
    if not file or format not in DISK_FORMATS:
        raise SpecError(f"disks: a disk is FILE[,format={'|'.join(DISK_FORMATS)}][,ro], not {text!r}")
    return Disk(file, format, read_only)
