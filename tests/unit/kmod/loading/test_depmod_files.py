"""depmod's files: read as modprobe reads them, written so that it does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.kmod.loading.depmod_files import (
    Softdeps,
    format_aliases,
    format_dep,
    format_softdeps,
    module_name,
    parse_aliases,
    parse_builtin,
    parse_builtin_modinfo,
    parse_dep,
    parse_softdep,
    parse_softdeps,
    softdeps_of,
)
from kmod_harness.kmod.loading.names import Alias

NAMES = st.from_regex(r"[a-z0-9_]{1,8}", fullmatch=True)


def test_modules_dep_names_files() -> None:
    text = "kernel/fs/xfs/xfs.ko.xz: kernel/lib/libcrc32c.ko\nkernel/lib/libcrc32c.ko:\n\n"
    assert parse_dep(text) == {
        "kernel/fs/xfs/xfs.ko.xz": ("kernel/lib/libcrc32c.ko",), "kernel/lib/libcrc32c.ko": ()
    }  # fmt: skip
    assert module_name("kernel/net/nf-nat.ko.zst") == "nf_nat"


def test_softdeps_of_a_file_and_of_a_module_are_the_same() -> None:
    text = "# Soft dependencies\nsoftdep nf-nat pre: a b post: c\nsoftdep nf-nat post: d\nsoftdep broken\n"
    assert parse_softdeps(text) == {"nf_nat": Softdeps(("a", "b"), ("c", "d"))}
    modinfo = (("softdep", "pre: a b post: c"), ("alias", "pre: x"), ("softdep", "post: d"))
    assert softdeps_of(modinfo) == Softdeps(("a", "b"), ("c", "d"))
    assert parse_softdep("stray words pre:") == Softdeps()


def test_aliases_of_modules_and_of_built_in_ones() -> None:
    assert parse_aliases("# Aliases\nalias fs-xfs xfs\nalias usb:v*p* a-b\n") == (
        Alias("fs-xfs", "xfs"), Alias("usb:v*p*", "a_b")
    )  # fmt: skip
    modinfo = b"ext4.license=GPL\0ext4.alias=fs-ext4\0a-b.alias=x=y\0"
    assert parse_builtin_modinfo(modinfo) == (Alias("fs-ext4", "ext4"), Alias("x=y", "a_b"))


def test_built_in_names_are_those_of_the_files() -> None:
    assert parse_builtin("kernel/fs/ext4/ext4.ko\nkernel/lib/crc-t10dif.ko\n") == {"ext4", "crc_t10dif"}


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=3).map(tuple), max_size=5))
def test_a_written_modules_dep_is_read_back(needs: dict[str, tuple[str, ...]]) -> None:
    assert parse_dep(format_dep(needs)) == needs


@given(
    st.dictionaries(NAMES, st.tuples(*[st.lists(NAMES, unique=True, max_size=3).map(tuple)] * 2), max_size=5)
)
def test_written_softdeps_are_read_back(wanted: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    softdeps = {name: Softdeps(*both) for name, both in wanted.items() if any(both)}
    assert parse_softdeps(format_softdeps(softdeps)) == softdeps


@given(st.lists(st.builds(Alias, NAMES, NAMES), max_size=5).map(tuple))
def test_written_aliases_are_read_back(aliases: tuple[Alias, ...]) -> None:
    assert parse_aliases(format_aliases(aliases)) == aliases


@given(st.text(max_size=80), st.binary(max_size=80))
def test_any_text_is_read_without_a_fault(text: str, data: bytes) -> None:
    parse_dep(text)
    parse_softdeps(text)
    parse_aliases(text)
    parse_builtin(text)
    parse_builtin_modinfo(data)
