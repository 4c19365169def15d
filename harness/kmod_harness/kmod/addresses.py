"""The ranges in which x86-64 puts the kernel image and modules (Linux 6.1, arch/x86/include/asm)."""

from __future__ import annotations

#: Linked base of the kernel text mapping, `__START_KERNEL_map` (page_64_types.h).
KERNEL_IMAGE_BASE = 0xFFFFFFFF80000000
#: End of the range KASLR moves the kernel image in: 1 GiB (`KERNEL_IMAGE_SIZE`, page_64_types.h:95-98).
KERNEL_IMAGE_END = 0xFFFFFFFFC0000000
#: `MODULES_VADDR` with RANDOMIZE_BASE=y, also when booted `nokaslr`.
MODULES_BASE_RANDOMIZED = 0xFFFFFFFFC0000000
#: `MODULES_VADDR` without RANDOMIZE_BASE: the kernel image has 512 MiB then.
MODULES_BASE_FIXED = 0xFFFFFFFFA0000000
#: `MODULES_END` (pgtable_64_types.h:196-201).
MODULES_END = 0xFFFFFFFFFF000000
#: `MODULES_END` with DEBUG_KMAP_LOCAL_FORCE_MAP.
MODULES_END_FORCE_MAP = 0xFFFFFFFFFE000000


def in_module_range(address: int, *, randomize_base: bool = True) -> bool:
    """Returns whether an address lies in the module range of a kernel with or without RANDOMIZE_BASE."""
    base = MODULES_BASE_RANDOMIZED if randomize_base else MODULES_BASE_FIXED
    return base <= address < MODULES_END


def in_kernel_image(address: int) -> bool:
    """Returns whether an address lies in the range of the kernel image, slide included."""
    return KERNEL_IMAGE_BASE <= address < KERNEL_IMAGE_END
