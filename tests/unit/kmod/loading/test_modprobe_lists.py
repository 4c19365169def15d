"""The lists by which modprobe finds modules, and loads first what they need."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.kmod.loading.depmod_files import Softdeps, parse_dep
from kmod_harness.kmod.loading.modprobe_lists import Listed, modprobe_lists

LISTED = {
    "mc": Listed("kernel/mc.ko.xz"),
    "videodev": Listed("kernel/videodev.ko", needs=("mc",), aliases=("char-major-81-*",)),
    "my": Listed("my.ko", needs=("videodev", "nonesuch"), softdeps=Softdeps(pre=("early",))),
}


def test_a_line_names_all_that_a_module_needs_the_first_to_load_last() -> None:
    texts = modprobe_lists(LISTED)
    assert texts["modules.dep"] == (
        "kernel/mc.ko.xz:\nkernel/videodev.ko: kernel/mc.ko.xz\nmy.ko: kernel/videodev.ko kernel/mc.ko.xz\n"
    )
    assert texts["modules.alias"] == "alias char-major-81-* videodev\n"
    assert texts["modules.softdep"] == "softdep my pre: early\n"


def test_the_lists_can_grow() -> None:
    texts = modprobe_lists(LISTED, ["my"])
    assert texts["modules.dep"] == "my.ko: kernel/videodev.ko kernel/mc.ko.xz\n"
    assert texts["modules.alias"] == ""


def test_a_circle_ends() -> None:
    listed = {"a": Listed("a.ko", needs=("b",)), "b": Listed("b.ko", needs=("a",))}
    assert parse_dep(modprobe_lists(listed)["modules.dep"]) == {"a.ko": ("b.ko",), "b.ko": ("a.ko",)}


@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20))
def test_what_modprobe_loads_is_always_there_before(edges: set[tuple[int, int]]) -> None:
    """modprobe loads a line's modules from its last to its first, then the module itself."""
    needs = {i: tuple(f"m{low}" for low, high in edges if high == i and low < high) for i in range(8)}
    texts = modprobe_lists({f"m{i}": Listed(f"m{i}.ko", needs[i]) for i in range(8)})
    for file, line in parse_dep(texts["modules.dep"]).items():
        seen: set[str] = set()
        for name in [path.removesuffix(".ko") for path in (*reversed(line), file)]:
            assert set(needs[int(name[1:])]) <= seen
            seen.add(name)
