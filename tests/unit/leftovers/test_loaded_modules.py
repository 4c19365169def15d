"""Where the variables of loaded modules lie, by the kernel's list, as 6.1 and 7.2 have it."""

from __future__ import annotations

import itertools

import pytest

from kmod_harness.leftovers.loaded_modules import loaded_modules
from unit.leftovers.allocator.memory import Memory

HEAD, FIRST, SECOND = 0x1000, 0x2000, 0x3000
MODULE = {"": 0x400, "list": 8, "name": 24}
OLD = {"module": {**MODULE, "core_layout": 0x100}, "module_layout": {"": 80, "base": 0, "size": 8}}
NEW = {"module": {**MODULE, "mem": 0x100}, "module_memory": {"": 72, "base": 0, "size": 12}}


def memory(*modules: tuple[int, str]) -> Memory:
    made = Memory()
    entries = [HEAD, *(place + 8 for place, _ in modules), HEAD]
    for here, behind in itertools.pairwise(entries):
        made.put(here, behind)
    for place, name in modules:
        made.put_text(place + 24, name)
    return made


def test_up_to_6_3_a_module_is_one_block() -> None:
    made = memory((FIRST, "failover"))
    made.put(FIRST + 0x100, 0xC000)
    made.put(FIRST + 0x108, 0x5000, 4)
    (found,) = loaded_modules(made.read, OLD, HEAD)
    assert (found.name, found.memory) == ("failover", range(0xC000, 0x11000))
    assert found.own == range(FIRST, FIRST + 0x400)


def test_since_6_4_variables_lie_in_blocks_of_two_kinds() -> None:
    made = memory((FIRST, "failover"))
    for kind, base in ((0, 0xA000), (1, 0xB000), (2, 0xC000), (3, 0xD000)):
        made.put(FIRST + 0x100 + 72 * kind, base)
        made.put(FIRST + 0x100 + 72 * kind + 12, 0x800, 4)
    assert [found.memory.start for found in loaded_modules(made.read, NEW, HEAD)] == [0xB000, 0xD000]


def test_every_module_of_the_list_is_found() -> None:
    made = memory((FIRST, "one"), (SECOND, "two"))
    assert [found.name for found in loaded_modules(made.read, OLD, HEAD)] == ["one", "two"]


@pytest.mark.parametrize("layouts", [{}, {"module": {"": 0x400}}])
def test_without_their_layout_there_are_none(layouts: dict[str, dict[str, int]]) -> None:
    assert list(loaded_modules(memory((FIRST, "one")).read, layouts, HEAD)) == []


def test_a_list_in_a_circle_ends() -> None:
    made = memory((FIRST, "one"))
    made.put(FIRST + 8, FIRST + 8)
    assert len(list(loaded_modules(made.read, OLD, HEAD))) <= 5000
