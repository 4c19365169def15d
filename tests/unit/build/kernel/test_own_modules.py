"""A kernel's own modules, read from each kind of directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.build.kernel.kernel import Kernel
from kmod_harness.build.kernel.own_modules import module_files, own_modules
from kmod_harness.kmod.loading.depmod_files import Softdeps


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("kernel/drivers/virtio/virtio-rng.ko", "kernel/drivers/virtio/virtio-rng.ko"),
        ("kernel/drivers/virtio/virtio-rng.ko", "drivers/virtio/virtio-rng.ko"),
        ("drivers/virtio/virtio-rng.o", "drivers/virtio/virtio-rng.ko"),
        ("kernel/drivers/virtio/virtio-rng.ko", "kernel/drivers/virtio/virtio-rng.ko.xz"),
        ("kernel/drivers/virtio/virtio-rng.ko", "kernel/drivers/virtio/virtio-rng.ko.zst"),
    ],
    ids=["installed", "built-6.1", "built-6.2", "xz", "zst"],
)
def test_modules_are_found_in_every_kind_of_tree(tmp_path: Path, line: str, file: str) -> None:
    (tmp_path / "modules.order").write_text(f"{line}\nkernel/not/there.ko\n")
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(b"")
    assert module_files(tmp_path) == {"virtio_rng": tmp_path / file}


def test_depmods_files_are_read_where_they_are(tmp_path: Path) -> None:
    for name, text in {
        "modules.order": "kernel/a.ko\n",
        "modules.dep": "updates/a-b.ko.xz: kernel/c.ko\nkernel/c.ko:\n",
        "modules.softdep": "softdep a_b pre: x\n",
        "modules.alias": "alias fs-a a_b\n",
        "modules.builtin": "kernel/fs/ext4/ext4.ko\n",
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "modules.builtin.modinfo").write_bytes(b"ext4.alias=fs-ext4\0")
    own = own_modules(Kernel("debian", "6.1.0", tmp_path / "vmlinuz", modules_dir=tmp_path))
    assert own.files == {"a_b": tmp_path / "updates/a-b.ko.xz", "c": tmp_path / "kernel/c.ko"}
    assert own.depends == {"a_b": ("c",), "c": ()} and own.softdeps == {"a_b": Softdeps(pre=("x",))}
    assert {(alias.pattern, alias.module) for alias in own.aliases()} == {
        ("fs-a", "a_b"),
        ("fs-ext4", "ext4"),
    }
    assert own.built_in == {"ext4"}


def test_a_kernel_without_modules_knows_what_is_built_in(tmp_path: Path) -> None:
    (tmp_path / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    own = own_modules(Kernel("minimal", "6.1.0", tmp_path / "bzImage", build_dir=tmp_path))
    assert (own.files, own.built_in, own.aliases()) == ({}, {"ext4"}, ())
