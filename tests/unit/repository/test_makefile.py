"""What a Makefile says of its modules, without make: names, conditions, directories, what it cannot say."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.repository.makefile import Entry, read_makefile

KERNELRELEASE = """\
# the usual file of a module that lives outside the kernel
ifneq ($(KERNELRELEASE),)
obj-m := hello.o
hello-objs := main.o \\
\tutil.o
else
KDIR ?= /lib/modules/$(shell uname -r)/build
all:
\t$(MAKE) -C $(KDIR) M=$(PWD) obj-m=never.o modules
endif
"""


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("obj-m := hello.o\n", ["hello"]),
        ("obj-m:=hello.o other-one.o # two\nobj-m += third.o", ["hello", "other-one", "third"]),
        ("obj-m = a.o \\\n   b.o\\\n\tc.o\n", ["a", "b", "c"]),
        ("obj-m := a.o\r\nobj-m += b.o\r\n", ["a", "b"]),
        ("MOD := hello\nobj-m := $(MOD).o\n", ["hello"]),
        ("A = $(B)\nB = x\nobj-m += ${A}.o\n", ["x"]),
        ("LIST := a.o\nLIST += b.o\nobj-m := $(LIST)\n", ["a", "b"]),
        ("MOD = first\nMOD ?= second\nobj-m := $(MOD).o\n", ["first"]),
        ("export CONFIG_WIFI := m\nobj-$(CONFIG_WIFI) += wifi.o\n", ["wifi"]),
        ("obj-m := dir/inner.o\n", ["dir/inner"]),
        ("obj-y := builtin.o\nobj-n := never.o\n", []),
        ("# obj-m := no.o\nall:\n\tobj-m := no.o\n", []),
        (KERNELRELEASE, ["hello"]),
    ],
)
def test_modules_are_named(text: str, modules: list[str]) -> None:
    said = read_makefile(text)
    assert [entry.name for entry in said.modules] == modules
    assert all(entry.config == "" for entry in said.modules)
    assert said.unclear == ()


def test_a_kernels_option_decides_where_the_file_does_not() -> None:
    said = read_makefile("obj-$(CONFIG_FOO) += foo.o\nobj-$(CONFIG_BAR) += bar/\n")
    assert said.modules == (Entry("foo", "CONFIG_FOO"),)
    assert said.directories == (Entry("bar", "CONFIG_BAR"),)


def test_directories_are_gone_into_from_both_lists() -> None:
    said = read_makefile("obj-m += a/ b/\nobj-y += c/ a/\n")
    assert [entry.name for entry in said.directories] == ["a", "b", "c"]


def test_the_parts_of_a_module_are_its_objects() -> None:
    text = "obj-m := hello.o other.o\nhello-y := main.o\nhello-y += util.o\nhello-$(CONFIG_X) += x.o\n"
    assert read_makefile(text).parts == {"hello": ("main.o", "util.o")}
    assert read_makefile(KERNELRELEASE).parts == {"hello": ("main.o", "util.o")}


@pytest.mark.parametrize(
    "line",
    [
        "obj-m := $(NAME).o",
        "obj-m := $(patsubst %.c,%.o,$(wildcard *.c))",
        "obj-$(if $(CONFIG_KUNIT),m) += suite.o",
        "obj-m := hello.c",
        "obj-m := ../outside.o",
        "obj-m := /etc/outside.o",
        "include $(src)/Makefile.common",
        "-include local.mk",
    ],
)
def test_what_make_alone_knows_is_told_as_it_stands(line: str) -> None:
    said = read_makefile(f"obj-m += known.o\n{line}  # why\n")
    assert said.unclear == (line,)
    assert [entry.name for entry in said.modules] == ["known"]


def test_a_variable_that_names_itself_has_an_end() -> None:
    assert read_makefile("A = $(A) $(A)\nobj-m := $(A).o\n").unclear == ("obj-m := $(A).o",)


@given(
    st.lists(st.sampled_from(["obj-m", " := ", "$(", ")", "A", "\n", "\t", "\\", "+=", ".o", "/", "#", " "]))
)
def test_any_text_is_read(pieces: list[str]) -> None:
    said = read_makefile("".join(pieces))
    assert all(re.fullmatch(r"(\w[\w.-]*/)*\w[\w.-]*", entry.name) for entry in said.modules)
