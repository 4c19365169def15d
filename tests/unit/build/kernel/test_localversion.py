"""Kernels of different configurations have different releases."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmod_harness.build.kernel.kconfig import Request, parse_fragment
from kmod_harness.build.kernel.localversion import own_localversion

BASE = parse_fragment('CONFIG_LOCALVERSION="-base"\nCONFIG_SMP=y\n', "base")
DEBUG = parse_fragment('CONFIG_LOCALVERSION="-base-debug"\nCONFIG_KASAN=y\n', "debug")

symbols = st.sampled_from(("EXT4_FS", "FS_POSIX_ACL", "NET_9P", "SWAP"))
requests = st.builds(Request, symbols, st.sampled_from("ymn"), st.just("mine"), st.integers(1, 9))
fragments = st.lists(st.lists(requests, min_size=1, max_size=3), min_size=1, max_size=3)


def test_the_base_and_a_fragment_with_a_name_keep_theirs() -> None:
    assert own_localversion([BASE]) is None
    assert own_localversion([BASE, DEBUG]) is None


def test_a_fragment_without_a_name_gets_one_and_so_do_two() -> None:
    mine = parse_fragment("CONFIG_EXT4_FS=y\n", "mine")
    alone, with_debug = own_localversion([BASE, mine]), own_localversion([BASE, DEBUG, mine])
    assert alone is not None and with_debug is not None
    assert alone.value.startswith('"-base-') and alone.value.endswith('"')
    assert with_debug.value.startswith('"-base-debug-')


@given(fragments, fragments)
def test_what_asks_for_something_else_is_called_something_else(
    one: list[list[Request]], other: list[list[Request]]
) -> None:
    def asked(fragments: list[list[Request]]) -> list[str]:
        return [str(request) for fragment in fragments for request in fragment]

    names = [own_localversion([BASE, *fragments]) for fragments in (one, other)]
    assert (str(names[0]) == str(names[1])) == (asked(one) == asked(other))
