"""Root file systems on a disk: how one is recognised, and what its kernel needs."""

from __future__ import annotations

from pathlib import Path

from kmod_harness.build.kernel.kconfig import NOT_SET, parse_config
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.errors import Misuse

#: The first disk's name under virtio-blk; the root file system is the first disk.
DEVICE = "/dev/vda"
#: One driver for ext2, ext3 and ext4.
TYPE = "ext4"
#: Modules to load on kernels without a built-in ext4; it asks for crc32c by name.
DRIVERS = ("crc32c_generic", "ext4")
# fs/ext4/ext4.h and include/uapi/linux/magic.h, 6.1: the superblock is at 1024, s_magic 56 bytes into it.
_MAGIC_OFFSET = 1024 + 56
_MAGIC = b"\x53\xef"


def is_root_disk(path: Path) -> bool:
    """Returns whether a file holds an ext2, ext3 or ext4 file system, without partitions."""
    try:
        with path.open("rb") as file:
            file.seek(_MAGIC_OFFSET)
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def require_driver(kernel: Kernel, rootfs: Path) -> None:
    """Raises Misuse for a kernel whose configuration is known and has no ext4."""
    if kernel.config is None or not kernel.config.is_file():
        return
    if parse_config(kernel.config.read_text(errors="replace")).get("EXT4_FS", NOT_SET) == NOT_SET:
        raise Misuse(
            f"{rootfs} is an ext4 disk, and the kernel {kernel.name} ({kernel.release}) has no ext4",
            evidence=f"# CONFIG_EXT4_FS is not set, in {kernel.config}",
            advice="--kconfig ext4 builds one that has it; --kernel debian has it too",
        )
