"""Whether a kernel can be a guest, as far as its configuration tells before it boots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kmod_harness.build.cached_from_files import cached_from_files
from kmod_harness.build.kernel.kconfig import NOT_SET, parse_config, setting
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.errors import Misuse

#: What a guest needs of its kernel, and for what; `y` where a module would come too late.
_NEEDED = {
    "BLK_DEV_INITRD": ("y", "the root file system comes as an initramfs"),
    "SERIAL_8250_CONSOLE": ("y", "the kernel log is read from a serial port"),
    "PRINTK": ("y", "the kernel log is what is judged"),
    "VIRTIO_PCI": ("ym", "the channel to the guest is a virtio device"),
    "VIRTIO_CONSOLE": ("ym", "the channel to the guest is a virtio port"),
}
#: COMMAND_LINE_SIZE (arch/x86/include/asm/setup.h, 6.1), the closing NUL included.
_COMMAND_LINE_SIZE = 2048


def lacking(config: Mapping[str, str]) -> tuple[str, ...]:
    """Returns the needs of a guest that a configuration lacks, a line each."""
    return tuple(
        f"{setting(symbol, config.get(symbol, NOT_SET))}: {purpose}"
        for symbol, (values, purpose) in _NEEDED.items()
        if config.get(symbol, NOT_SET) not in values
    )


def require_bootable(kernel: Kernel, cpus: int, command_line: str) -> None:
    """Raises Misuse for a kernel that cannot be a guest, has fewer CPUs, or would cut its command line.

    A kernel without a known configuration is not judged, but for its command line.
    """
    size = len(command_line.encode()) + 1
    if size > _COMMAND_LINE_SIZE:
        raise Misuse(
            f"the kernel's command line has {size} bytes, and the kernel takes {_COMMAND_LINE_SIZE}: it "
            "would cut off the end",
            evidence=f"...{command_line[_COMMAND_LINE_SIZE - 60 :][:120]}",
            advice="make --append shorter",
        )
    if kernel.config is None or not kernel.config.is_file():
        return
    told = cached_from_files("bootable-1", [kernel.config], lambda: _read(kernel))
    if told["lacking"]:
        raise Misuse(
            f"the kernel {kernel.name} ({kernel.release}) cannot be a guest",
            evidence="\n".join(told["lacking"]),
            advice=f"build it with these options ({kernel.config} lacks them)",
        )
    if 0 < told["cpus"] < cpus:
        raise Misuse(
            f"the kernel {kernel.name} ({kernel.release}) uses {told['cpus']} CPUs at most, not {cpus}",
            evidence=f"CONFIG_NR_CPUS={told['cpus']}, in {kernel.config}",
            advice="a fragment with CONFIG_NR_CPUS=N makes another: --kconfig FILE",
        )


def _read(kernel: Kernel) -> dict[str, Any]:
    assert kernel.config is not None
    config = parse_config(kernel.config.read_text(errors="replace"))
    # without SMP there is no NR_CPUS to choose: one
    cpus = config.get("NR_CPUS", "") if config.get("SMP") == "y" else "1"
    return {"lacking": list(lacking(config)), "cpus": int(cpus) if cpus.isdigit() else 0}
