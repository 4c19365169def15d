"""What a name means among a kernel's own modules."""

from __future__ import annotations

import pytest

from kmod_harness.errors import Misuse, UnknownModule
from kmod_harness.kmod.loading.names import Alias, modules_of_alias
from unit.kmod.loading.sample import OwnKernel, module

OWN = OwnKernel(
    module("virtio_net"), module("nf-nat"), module("xfs"), module("crc_a"), module("crc_b"),
    built_in=("ext4",),
    aliases=(
        Alias("fs-xfs", "xfs"), Alias("virtio:d00000001v*", "virtio_net"), Alias("fs-ext4", "ext4"),
        Alias("crc", "crc_a"), Alias("crc", "crc_b"), Alias("pci:v*d0000[0-9]sv*", "nf_nat"),
    ),
).own  # fmt: skip


@pytest.mark.parametrize(
    ("word", "name"),
    [("xfs", "xfs"), ("nf_nat", "nf-nat"), ("virtio-net", "virtio_net"), ("fs-xfs", "xfs"),
     ("virtio:d00000001v00000001", "virtio_net")],
)  # fmt: skip
def test_a_name_or_an_alias_means_a_file(word: str, name: str) -> None:
    assert OWN.file_of(word).stem == name


@pytest.mark.parametrize("word", ["ext4", "fs-ext4"])
def test_a_built_in_one_has_nothing_to_load(word: str) -> None:
    with pytest.raises(Misuse, match=rf"{word}.* is built into the kernel 6.1.0: there is nothing to load"):
        OWN.file_of(word)


def test_an_unknown_one_is_told_with_the_nearest() -> None:
    with pytest.raises(UnknownModule, match="no module virtio_nett") as error:
        OWN.file_of("virtio_nett")
    assert "virtio_net" in error.value.evidence


def test_an_alias_of_several_is_not_guessed() -> None:
    with pytest.raises(Misuse, match="crc is an alias of 2 modules") as error:
        OWN.file_of("crc")
    assert error.value.evidence == "crc_a, crc_b"


def test_a_kernel_without_modules_says_so() -> None:
    with pytest.raises(UnknownModule, match="comes without modules of its own, so there is no xfs"):
        OwnKernel().own.file_of("xfs")


def test_dashes_in_a_set_of_characters_are_a_range() -> None:
    assert modules_of_alias("pci:v1d00007sv2", OWN.aliases()) == ("nf_nat",)
    assert modules_of_alias("pci:v1d0000-sv2", OWN.aliases()) == ()
