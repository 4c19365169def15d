"""A kernel that comes with modules of its own."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.kmod.elf.module import read_module
from shared.kernel_with_modules import kernel_with_modules

_TEXTS = {
    "modules.dep": "kernel/chardev.ko.xz:\nkernel/chardev_stats.ko: kernel/chardev.ko.xz\n"
    "kernel/faulty.ko: kernel/refused.ko\nkernel/refused.ko:\n",
    "modules.alias": "alias char-major-240-* chardev\nalias the-chardev chardev\n"
    "alias both chardev\nalias both faulty\n",
    "modules.builtin": "kernel/drivers/net/virtio_net.ko\n",
}


@pytest.fixture(scope="session")
def image(run_kernel: Kernel, sample_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel whose own modules are chardev, chardev_stats, and faulty, which needs one it refuses."""
    ko = {
        name: (sample_modules / name / f"{name}.ko").read_bytes()
        for name in ("chardev", "chardev_stats", "faulty")
    }
    release = read_module(sample_modules / "chardev/chardev.ko").release.encode()
    refused = ko["chardev"].replace(b"\0name=chardev\0", b"\0name=refused\0")
    refused = refused.replace(b"vermagic=" + release + b" SMP ", b"vermagic=" + release + b" UPP ")
    files = {
        "chardev.ko.xz": lzma.compress(ko["chardev"]),
        "chardev_stats.ko": ko["chardev_stats"],
        "faulty.ko": ko["faulty"],
        "refused.ko": refused,
    }
    return kernel_with_modules(run_kernel, tmp_path_factory.mktemp("kernel"), files, _TEXTS)
