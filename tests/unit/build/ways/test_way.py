"""The way chosen for a directory, by what lies in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kmod_harness.build.ways.way import ForKernel, Way, choose_ways
from kmod_harness.errors import Misuse

KERNEL = ForKernel("6.1.0", Path("/k"), {"NET": "y"})
CALL = "all:\n\t$(MAKE) -C $(KDIR) M=$(PWD) modules\n"
KDIR = "KDIR ?= /lib/modules/$(shell uname -r)/build\n"
DKMS = "PACKAGE_NAME=p\nPACKAGE_VERSION=1\n"


def ways(directory: Path, files: dict[str, str]) -> list[Way]:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return list(choose_ways(directory, KERNEL))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"Makefile": "obj-m := a.o\n"}, ["kbuild"]),
        ({"Kbuild": "obj-m := a.o\n"}, ["kbuild"]),
        ({"Makefile": "obj-m := a.o\n" + KDIR + CALL}, ["kbuild"]),
        ({"Makefile": "obj-m := $(LIST)\n"}, ["kbuild"]),
        ({"Makefile": "obj-$(CONFIG_NET) += a.o\n"}, ["kbuild"]),
        # nobody sets it, unless the Makefile does
        ({"Makefile": "obj-$(CONFIG_MINE) += a.o\n"}, ["kbuild CONFIG_MINE=m"]),
        ({"Makefile": "obj-m := a.o\nobj-$(CONFIG_MINE) += b.o\n"}, ["kbuild"]),
        (
            {
                "Makefile": KDIR
                + "obj-$(CONFIG_MINE) += a.o\nall:\n\t$(MAKE) -C $(KDIR) M=$(PWD) CONFIG_MINE=m modules\n"
            },
            ["its own Makefile: make KDIR=KERNEL all"],
        ),
        (
            {
                "Makefile": KDIR + "all: gen\n\t$(MAKE) -C $(KDIR) M=$(PWD) modules\n",
                "Kbuild": "obj-m := a.o\n",
            },
            ["its own Makefile: make KDIR=KERNEL all"],
        ),
        (
            {
                "Makefile": "KVER ?= $(shell uname -r)\n" + KDIR + "all:\n\t$(MAKE) -C src\n",
                "src/Makefile": "x:\n",
            },
            ["its own Makefile: make KDIR=KERNEL KVER=RELEASE"],
        ),
        (
            {"a/Makefile": "obj-m := a.o\n", "b/Kbuild": "obj-m := b.o\n", "doc/Makefile": "all:\n\ttexi\n"},
            ["kbuild", "kbuild"],
        ),
        ({"Makefile": "all:\n\t$(MAKE) -C a\n", "a/Makefile": "obj-m := a.o\n"}, ["kbuild"]),
        (
            {"a/dkms.conf": DKMS, "a/Makefile": "obj-m := p.o\n", "b/Makefile": "obj-m := b.o\n"},
            ["dkms.conf of p 1", "kbuild"],
        ),
        ({"dkms.conf": DKMS, "Makefile": "obj-m := p.o\n"}, ["dkms.conf of p 1"]),
        (
            {"dkms.conf": DKMS + 'PRE_BUILD="conf --all"\nPATCH[0]=a\n'},
            ["dkms.conf of p 1, 1 patches, PRE_BUILD conf, in a copy"],
        ),
    ],
)
def test_the_way(tmp_path: Path, files: dict[str, str], said: list[str]) -> None:
    assert [way.said for way in ways(tmp_path, files)] == said


def test_directories_below_have_ways_of_their_own(tmp_path: Path) -> None:
    found = ways(tmp_path, {"b/Makefile": "obj-m := b.o\n", "a/Makefile": "obj-m := a.o\n"})
    assert [way.directory for way in found] == [tmp_path / "a", tmp_path / "b"]


@pytest.mark.parametrize("files", [{}, {"doc/Makefile": "all:\n\ttexi\n"}, {"a.c": ""}])
def test_a_directory_without_any_is_told_what_is_expected(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(Misuse, match=r"has no Makefile, Kbuild or dkms\.conf"):
        ways(tmp_path, files)


def test_what_is_no_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="there is no directory"):
        choose_ways(tmp_path / "nosuch", KERNEL)
