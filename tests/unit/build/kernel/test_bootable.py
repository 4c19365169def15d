"""A kernel that cannot be a guest is told before the boot, as far as its configuration is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.build.kernel.bootable import lacking, require_bootable
from kmod_harness.build.kernel.kconfig import parse_config
from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.errors import Misuse
from kmod_harness.host.resources import minimal_config

GOOD = """\
CONFIG_SMP=y
CONFIG_NR_CPUS=8
CONFIG_PRINTK=y
CONFIG_BLK_DEV_INITRD=y
CONFIG_SERIAL_8250_CONSOLE=y
CONFIG_VIRTIO_PCI=m
CONFIG_VIRTIO_CONSOLE=m
"""


def kernel(directory: Path, config: str | None) -> Kernel:
    path = directory / "config"
    if config is not None:
        path.write_text(config)
    return Kernel("mine", "6.1.0", directory / "bzImage", config=path if config is not None else None)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_minimal_asks_for_all_of_it() -> None:
    assert lacking(parse_config(minimal_config().read_text())) == ()


def test_a_kernel_with_all_of_it_is_one(tmp_path: Path) -> None:
    require_bootable(kernel(tmp_path, GOOD), 8, "console=ttyS0")
    require_bootable(kernel(tmp_path, None), 64, "console=ttyS0")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("CONFIG_VIRTIO_CONSOLE=m", "# CONFIG_VIRTIO_CONSOLE is not set: the channel to the guest"),
        ("CONFIG_BLK_DEV_INITRD=y", "# CONFIG_BLK_DEV_INITRD is not set: the root file system"),
        ("CONFIG_SERIAL_8250_CONSOLE=y", "# CONFIG_SERIAL_8250_CONSOLE is not set: the kernel log"),
    ],
)
def test_what_it_lacks_is_named_with_its_purpose(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(Misuse, match=r"mine \(6\.1\.0\) cannot be a guest") as refused:
        require_bootable(kernel(tmp_path, GOOD.replace(f"{line}\n", "")), 1, "")
    assert said in refused.value.evidence


@pytest.mark.parametrize(("config", "most"), [(GOOD, 8), (GOOD.replace("CONFIG_SMP=y\n", ""), 1)])
def test_more_cpus_than_it_was_made_for_are_refused(tmp_path: Path, config: str, most: int) -> None:
    require_bootable(kernel(tmp_path, config), most, "")
    with pytest.raises(Misuse, match=f"uses {most} CPUs at most, not {most + 1}"):
        require_bootable(kernel(tmp_path, config), most + 1, "")


def test_a_command_line_that_it_would_cut_is_refused(tmp_path: Path) -> None:
    require_bootable(kernel(tmp_path, None), 1, "x" * 2047)
    with pytest.raises(Misuse, match="2049 bytes, and the kernel takes 2048"):
        require_bootable(kernel(tmp_path, None), 1, "x" * 2048)
