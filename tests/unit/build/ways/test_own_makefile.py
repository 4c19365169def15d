"""Makefiles that call kbuild: how they take the kernel, and which target builds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.build.ways.own_makefile import (
    KbuildCall,
    KernelVariables,
    kbuild_call,
    kernel_variables,
    makefile_texts,
)


@pytest.mark.parametrize(
    ("text", "directories", "releases"),
    [
        ("KDIR ?= /lib/modules/$(shell uname -r)/build\n", ("KDIR",), ()),
        ("MYKERNEL = /lib/modules/`uname -r`/build\n", ("MYKERNEL",), ()),
        ("V := $(shell uname -r)\nL = /lib/modules/$(V)\nK = $(L)/build\n", ("K",), ("V",)),
        ("all:\n\t$(MAKE) -C $(LINUX) M=$(PWD) modules\n", ("LINUX",), ()),
        ("all:\n\tmake -C $(KSRC) M=$(CURDIR)\n", ("KSRC",), ()),
        ("ccflags-y += -I$(KERNEL_SRC)/drivers\n", ("KERNEL_SRC",), ()),
        ("ifndef KSRC\n  KSRC := /lib/modules/x/source\nendif\n", ("KSRC",), ()),
        ("LINUX_SRC = mine/src\nall:\n\tcc $(LINUX_SRC)\n", (), ()),
        ("DEST = /lib/modules/$(shell uname -r)/kernel/drivers\n", (), ()),
        ("KERNELRELEASE ?= `uname -r`\n", (), ()),
        ("all:\n\t$(MAKE) -C $(PWD) M=x\n", (), ()),
        ("# KDIR = /lib/modules/x/build\nobj-m := a.o\n", (), ()),
    ],
)
def test_the_variables_for_the_kernel(
    text: str, directories: tuple[str, ...], releases: tuple[str, ...]
) -> None:
    assert kernel_variables([text]) == KernelVariables(directories, releases)


def test_the_settings_name_the_kernel_by_each_variable() -> None:
    variables = KernelVariables(("KDIR", "KSRC"), ("KVER",))
    assert variables.settings(Path("/k"), "6.1") == ("KDIR=/k", "KSRC=/k", "KVER=6.1")


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("all:\n\t$(MAKE) -C $(KDIR) M=$(PWD) modules\n", KbuildCall("all", False)),
        ("T := $(shell pwd)\nall:\n\tmake -C $(K) M=$(T) modules V=1\n", KbuildCall("all", False)),
        ("m: a.c a.h\n\tmake -C $(K) M=`pwd` modules\n", KbuildCall("m", False)),
        ("all: config.h.gen\n\t$(MAKE) -C $(K) M=$(PWD) modules\n", KbuildCall("all", True)),
        ("all:\n\t$(MAKE) -C $(K) M=$(PWD) CONFIG_X=m modules\n", KbuildCall("all", True)),
        ("drv:\n\t$(MAKE) -C $(K) M=$(PWD)/src modules\n", KbuildCall("drv", True)),
        ("F := M=$(PWD) CONFIG_X=m\nall:\n\t$(MAKE) -C $(K) $(F) modules\n", KbuildCall("all", True)),
        ("clean:\n\t$(MAKE) -C $(K) M=$(PWD) clean\n", None),
        ("modules modules_install clean:\n\t$(MAKE) -C $(K) M=$(PWD) $@\n", KbuildCall("modules", False)),
        ("$(X):\n\t$(MAKE) -C $(K) SUBDIRS=$(CURDIR)\n", KbuildCall("", False)),
        ("obj-m := a.o\n", None),
    ],
)
def test_the_rule_that_calls_kbuild(text: str, call: KbuildCall | None) -> None:
    assert kbuild_call(text) == call


def test_makefiles_below_are_read_the_nearest_first(tmp_path: Path) -> None:
    for name in ("a/b/Makefile", "Makefile", "a/rules.mk", ".git/Makefile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert list(makefile_texts(tmp_path)) == [Path("Makefile"), Path("a/rules.mk"), Path("a/b/Makefile")]


@given(st.text("ab$(){}=:\\\n\t #M-C/", max_size=80))
def test_any_text_is_read(text: str) -> None:
    kernel_variables([text])
    kbuild_call(text)
