"""All of a kernel's own modules in an archive, as modprobe reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import zstandard

from kmod_harness.build.image.cpio import read_cpio
from kmod_harness.build.image.own_modules_archive import modules_identity, own_modules_archive, require_memory
from kmod_harness.errors import Misuse
from kmod_harness.kmod.loading.names import Alias
from kmod_harness.kmod.loading.own_modules import OwnModules


@pytest.fixture
def own(tmp_path: Path) -> OwnModules:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/a.ko").write_bytes(b"a")
    (tmp_path / "kernel/b.ko.zst").write_bytes(zstandard.compress(b"b"))
    return OwnModules(
        kernel="6.1.0",
        directory=tmp_path,
        files={"a": tmp_path / "kernel/a.ko", "b": tmp_path / "kernel/b.ko.zst"},
        depends={"a": ("b",)},
        built_in=frozenset({"ext4"}),
        aliases=lambda: (Alias("fs-a", "a"), Alias("fs-ext4", "ext4")),
    )


def contents(archive: bytes) -> dict[str, bytes]:
    return {entry.path: entry.data for entry in read_cpio(archive) if entry.mode & 0o100000}


def test_it_holds_files_and_lists(own: OwnModules) -> None:
    found = contents(own_modules_archive(own, {"/lib": ""}))
    base = "lib/modules/6.1.0"
    assert (found[f"{base}/kernel/a.ko"], found[f"{base}/kernel/b.ko"]) == (b"a", b"b")
    assert found[f"{base}/modules.dep"] == b"kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n"
    assert found[f"{base}/modules.alias"] == b"alias fs-a a\n"
    assert found[f"{base}/modules.builtin"] == b"kernel/ext4.ko\n"


def test_a_lib_that_is_a_symlink_is_followed_and_not_replaced(own: OwnModules) -> None:
    paths = set(contents(own_modules_archive(own, {"/lib": "usr/lib"})))
    assert "usr/lib/modules/6.1.0/modules.dep" in paths and not any(path.startswith("lib/") for path in paths)


def test_the_images_own_are_left_as_they_are(own: OwnModules) -> None:
    assert own_modules_archive(own, {"/lib": "", "/lib/modules/6.1.0/modules.dep": ""}) == b""


def test_a_kernel_without_modules_is_refused() -> None:
    with pytest.raises(Misuse, match=r"the kernel 6\.1\.0 comes without modules of its own"):
        modules_identity(OwnModules(kernel="6.1.0"))


def test_another_list_of_modules_makes_another_archive(own: OwnModules, tmp_path: Path) -> None:
    before = modules_identity(own)
    (tmp_path / "modules.dep").write_text("kernel/a.ko:\n")
    assert modules_identity(own) != before


def test_a_guest_without_room_is_told_how_much(tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    with initrd.open("wb") as file:
        file.truncate(100 << 20)
    require_memory(initrd, 328)
    with pytest.raises(Misuse, match="256 MiB of memory are too few") as error:
        require_memory(initrd, 256)
    assert "--memory 384M" in error.value.advice
