"""What a build's output complains of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.build.reasons.complaints import Complaints, read_complaints

GCC = """\
  CC [M]  /d/hello.o
/d/hello.c: In function 'start':
/d/hello.c:12:9: warning: unused variable 'x' [-Wunused-variable]
/d/hello.c:14:5: error: implicit declaration of function \u2018i2c_add_driver\u2019 [-Werror=implicit]
   14 |     i2c_add_driver(&d);
      |     ^~~~~~~~~~~~~~
/d/hello.c:15:9: error: 'struct net_device' has no member named 'ip6_ptr'; did you mean 'ip_ptr'?
make[1]: *** [/k/scripts/Makefile.build:250: /d/hello.o] Error 1
make: *** [/k/Makefile:2065: /d] Error 2
"""


def test_the_compilers_first_error_is_told_with_what_it_shows() -> None:
    found = read_complaints(GCC)
    assert found.first == (
        "/d/hello.c:14:5: error: implicit declaration of function 'i2c_add_driver' [-Werror=implicit]"
    )
    assert found.shown == "   14 |     i2c_add_driver(&d);\n      |     ^~~~~~~~~~~~~~"
    assert found.names == ("i2c_add_driver",)
    assert found.members == (("net_device", "ip6_ptr"),)
    assert found.words == ()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("a.c:1:2: error: unknown type name 'foo_t'", "foo_t"),
        ("a.c:1:2: error: 'FOO' undeclared (first use in this function)", "FOO"),
        ("a.c:1:2: error: storage size of 'foo' isn't known", "foo"),
        ("a.c:1:2: error: invalid use of undefined type 'struct foo'", "foo"),
        ("a.c:1:2: error: invalid application of 'sizeof' to incomplete type 'struct foo'", "foo"),
        ("a.c:1:2: error: dereferencing pointer to incomplete type 'const struct foo'", "foo"),
        ("a.c:1:2: error: call to undeclared function 'foo'; ISO C99", "foo"),
    ],
)
def test_names_that_a_compiler_does_not_know(line: str, name: str) -> None:
    assert read_complaints(line).names == (name,)


def test_a_member_of_a_structure_with_another_name() -> None:
    line = "a.c:1:2: error: 'afs_proc_t' {aka 'struct task_struct'} has no member named 'state'"
    assert read_complaints(line).members == (("task_struct", "state"),)


def test_a_header_that_is_not_there() -> None:
    found = read_complaints("a.c:3:10: fatal error: media/v4l2.h: No such file or directory\n")
    assert found.headers == ("media/v4l2.h",)
    assert found.first.startswith("a.c:3:10: fatal error: media/v4l2.h")


def test_symbols_that_nobody_exports_are_told_for_the_first_module() -> None:
    lines = [f'ERROR: modpost: "{name}" [/d/a.ko] undefined!' for name in ("one", "two", "one")]
    found = read_complaints("\n".join([*lines, 'ERROR: modpost: "three" [/d/b.ko] undefined!']))
    assert found.symbols == ("one", "two", "three")
    assert found.first.startswith("/d/a.ko needs one and 2 more symbols, which neither this kernel")


@pytest.mark.parametrize(
    ("line", "first", "words"),
    [
        (
            "/d/Makefile:4: *** You need to enable NF_CONNTRACK in your kernel.  Stop.",
            "/d/Makefile:4: *** You need to enable NF_CONNTRACK in your kernel.  Stop.",
            ("NF_CONNTRACK",),
        ),
        (
            "a.c:2:2: error: #error needs CONFIG_PCI",
            "a.c:2:2: error: #error needs CONFIG_PCI",
            ("PCI", "CONFIG_PCI"),
        ),
        (
            "make[1]: *** No rule to make target '/d/a.c', needed by '/d/a.o'.  Stop.",
            "make: No rule to make target '/d/a.c', needed by '/d/a.o'.",
            (),
        ),
        ("configure: error: no kernel", "configure: error: no kernel", ()),
        ("! Error: no iptables", "! Error: no iptables", ()),
    ],
)
def test_what_sources_and_scripts_say_themselves(line: str, first: str, words: tuple[str, ...]) -> None:
    found = read_complaints(f"{line}\nmake: *** [Makefile:3: all] Error 1\n")
    assert (found.first, found.words) == (first, words)


def test_an_output_without_an_error_that_is_known_has_its_last_lines() -> None:
    assert read_complaints("one\ntwo\n") == Complaints(shown="one\ntwo")


@given(st.text("abc:'\"#*[]() \n.0123error", max_size=200))
def test_any_output_is_read(text: str) -> None:
    read_complaints(text)
