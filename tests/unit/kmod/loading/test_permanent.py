"""A module without an exit function stays; one without an init as well may go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kmod_harness.kmod.elf.module import Symbol
from kmod_harness.kmod.loading.permanent import has_no_exit
from unit.kmod.loading.sample import module


@pytest.mark.parametrize(
    ("names", "stays"),
    [
        (("init_module",), True),
        (("init_module", "cleanup_module"), False),
        ((), False),
        (("cleanup_module",), False),
    ],
)
def test_only_an_init_without_an_exit_makes_it_stay(names: tuple[str, ...], stays: bool) -> None:
    symbols = tuple(Symbol(name, 0, 4, "FUNC", "GLOBAL", ".text") for name in names)
    assert has_no_exit(replace(module("m"), symbols=symbols)) is stays
