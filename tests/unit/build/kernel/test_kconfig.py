"""The configuration contract: what was asked for is there, or it is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.build.kernel.kconfig import (
    KconfigError,
    SymbolRenaming,
    defined_symbols,
    dropped_requests,
    merge,
    parse_config,
    parse_fragment,
    parse_renamings,
    parse_substitutions,
    renamings_of,
    setting,
    substituted,
    with_current_names,
)

symbols = st.text("ABCDEFXYZ0189_", min_size=1, max_size=10)
values = st.one_of(st.sampled_from(["y", "m", "n", "8", "0x1000", '""', '"-x y#z=1"']))


def test_a_fragment_says_what_it_wants_and_where() -> None:
    text = "# a word on why\nCONFIG_SMP=y\n\n# CONFIG_SWAP is not set\nCONFIG_NR_CPUS=8\nCONFIG_X=n\n"
    found = [(item.symbol, item.value, item.line) for item in parse_fragment(text, "f")]
    assert found == [("SMP", "y", 2), ("SWAP", "n", 4), ("NR_CPUS", "8", 5), ("X", "n", 6)]


@pytest.mark.parametrize("line", ["CONFIG_SMP", "SMP=y", "CONFIG_SMP y", "CONFIG_SMP=", "config_smp=y", "-x"])
def test_a_line_that_kconfig_would_ignore_is_an_error(line: str) -> None:
    with pytest.raises(KconfigError, match=r"mine\.config:2"):
        parse_fragment(f"# why\n{line}\n", "mine.config")


def test_a_symbol_that_fell_out_is_named_with_fragment_line_and_outcome() -> None:
    requests = parse_fragment("CONFIG_SMP=y\nCONFIG_KASAN=y\nCONFIG_NR_CPUS=8\n", "mine.config")
    lost = dropped_requests(requests, {"SMP": "y", "NR_CPUS": "2"})
    assert [str(item) for item in lost] == [
        "mine.config:2: asked for CONFIG_KASAN=y, but it is not set",
        "mine.config:3: asked for CONFIG_NR_CPUS=8, but it came out as 2",
    ]


def test_what_was_to_be_off_and_is_on_is_named() -> None:
    (lost,) = dropped_requests(parse_fragment("# CONFIG_SWAP is not set\n", "f"), {"SWAP": "y"})
    assert str(lost) == "f:1: asked for # CONFIG_SWAP is not set, but it came out as y"


def test_an_absent_symbol_is_not_set() -> None:
    assert dropped_requests(parse_fragment("# CONFIG_SWAP is not set\nCONFIG_X=n\n", "f"), {}) == ()


def test_a_module_is_not_what_was_asked_for_as_built_in() -> None:
    (lost,) = dropped_requests(parse_fragment("CONFIG_VIRTIO_NET=y\n", "f"), {"VIRTIO_NET": "m"})
    assert lost.resolved == "m"


def test_a_later_fragment_overrides_an_earlier_one() -> None:
    requests = (
        *parse_fragment("CONFIG_SMP=y\n", "first"),
        *parse_fragment("# CONFIG_SMP is not set\n", "second"),
    )
    assert dropped_requests(requests, {}) == ()
    (lost,) = dropped_requests(requests, {"SMP": "y"})
    assert lost.request.fragment == "second"


def test_a_merged_choice_ends_with_the_last_request() -> None:
    merged = merge("CONFIG_KERNEL_XZ=y\nCONFIG_KERNEL_LZ4=y\n", parse_fragment("CONFIG_KERNEL_XZ=y\n", "f"))
    assert merged.splitlines() == ["CONFIG_KERNEL_LZ4=y", "CONFIG_KERNEL_XZ=y"]


@given(st.dictionaries(symbols, values, max_size=8), st.lists(st.tuples(symbols, values), max_size=8))
def test_a_merge_honours_every_request_and_keeps_the_rest(
    base: dict[str, str], asked: list[tuple[str, str]]
) -> None:
    text = "".join(setting(*item) + "\n" for item in base.items())
    requests = parse_fragment("".join(setting(*item) + "\n" for item in asked), "f")
    resolved = parse_config(merge(text, requests))
    assert dropped_requests(requests, resolved) == ()
    assert resolved == {**base, **dict(asked)}


def test_symbols_are_found_in_kconfig_files() -> None:
    text = 'config SMP\n\tbool "x"\nmenuconfig PCI\n\tdepends on SMP\n  config DEEP\nconfigured FOO\n'
    assert defined_symbols(text) == {"SMP", "PCI", "DEEP"}


RENAMED = (SymbolRenaming("RETPOLINE", "MITIGATION_RETPOLINE"), SymbolRenaming("TRUST_CPU", ""))


def names(text: str, *defined: str) -> list[str]:
    requests = parse_fragment(text, "f")
    return [request.symbol for request in with_current_names(set(defined), requests, RENAMED)]


def test_a_symbol_is_asked_for_by_the_name_that_this_kernel_has_for_it() -> None:
    older, newer = "CONFIG_RETPOLINE=y\n", "CONFIG_MITIGATION_RETPOLINE=y\n"
    assert names(older, "RETPOLINE") == names(newer, "RETPOLINE") == ["RETPOLINE"]
    assert (
        names(older, "MITIGATION_RETPOLINE")
        == names(newer, "MITIGATION_RETPOLINE")
        == ["MITIGATION_RETPOLINE"]
    )


def test_the_newer_name_wins_where_a_kernel_has_both() -> None:
    """Linux 7.2 defines PREEMPT_VOLUNTARY still, for machines without PREEMPT_LAZY."""
    both = ("RETPOLINE", "MITIGATION_RETPOLINE")
    assert names("CONFIG_RETPOLINE=y\n", *both) == ["MITIGATION_RETPOLINE"]
    assert names("CONFIG_MITIGATION_RETPOLINE=y\n", *both) == ["MITIGATION_RETPOLINE"]


def test_a_symbol_that_is_gone_is_not_asked_for() -> None:
    assert names("CONFIG_TRUST_CPU=y\n", "SMP") == []
    assert names("CONFIG_TRUST_CPU=y\n", "TRUST_CPU") == ["TRUST_CPU"]


def test_a_symbol_that_no_kernel_has_stays_to_be_named() -> None:
    assert names("CONFIG_RETPOLINE=y\nCONFIG_NONSENSE=y\n", "SMP") == ["RETPOLINE", "NONSENSE"]


def test_only_renamings_of_what_is_asked_for_make_another_kernel() -> None:
    assert renamings_of(RENAMED, parse_fragment("CONFIG_SMP=y\n", "f")) == ()
    assert renamings_of(RENAMED, parse_fragment("CONFIG_MITIGATION_RETPOLINE=y\n", "f")) == RENAMED[:1]


def test_the_table_of_renamings_says_older_newer_and_why() -> None:
    assert parse_renamings("# head\n\nA  B  # why\nC  -\n") == (
        SymbolRenaming("A", "B"),
        SymbolRenaming("C", ""),
    )


OLDER = """
TRUST   ARCH    ARCH TRUST  # depends on ARCH
DWARF5  !NONE   INFO DWARF5 # a choice below INFO
GENID   !GENID  -           # later
"""


@pytest.mark.parametrize(
    ("defined", "asked"),
    [
        ({"TRUST", "ARCH", "INFO"}, ["ARCH", "TRUST", "INFO"]),
        ({"TRUST", "ARCH", "INFO", "DWARF5", "GENID"}, ["ARCH", "TRUST", "INFO", "DWARF5", "GENID"]),
        ({"TRUST", "INFO", "NONE", "DWARF5", "GENID"}, ["TRUST", "DWARF5", "GENID"]),
        ({"NONE", "GENID"}, ["TRUST", "DWARF5", "GENID"]),
    ],
)
def test_an_older_kernel_is_asked_for_what_it_has_in_a_symbols_place(
    defined: set[str], asked: list[str]
) -> None:
    requests = parse_fragment("CONFIG_TRUST=y\nCONFIG_DWARF5=y\nCONFIG_GENID=y\n", "my.config")
    substitutes = parse_substitutions(OLDER)
    given = substituted(defined, requests, substitutes)
    assert [request.symbol for request in given] == asked
    assert {request.value for request in given} == {"y"}
