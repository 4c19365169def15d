"""Given what the kernel's patching code did is not known, then the places it may write to are a limit."""

from __future__ import annotations

import pytest
from verify_images import TABLES, TEXT, kernel, linked, relative

from kmod_harness.kmod.relocation import LinkedModule
from kmod_harness.verify.comparison import compare
from kmod_harness.verify.image import Image
from kmod_harness.verify.kernel_state import CALL_DEPTH, RETPOLINE
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.replay import replay

CALL = b"\xe8\0\0\0\0"


def module(*tables: str) -> LinkedModule:
    """A call, and behind it a byte that no table names; tables: those that name the call."""
    parts = {".text": (TEXT, CALL + b"\x90\xc3")}
    parts |= {
        name: (TABLES + 0x100 * number, relative(TABLES + 0x100 * number, TEXT))
        for number, name in enumerate(tables)
    }
    return linked(parts)


def judged(image: Image, memory: bytes) -> list[Mechanism | None]:
    part = image.section(".text")
    assert part is not None
    return [difference.mechanism for difference in compare(part, memory).differences]


def test_on_a_release_that_is_not_replayed_a_named_place_is_a_limit_and_another_is_found() -> None:
    image, unknown = replay(module(".return_sites"), kernel(release=(7, 2), at=(6, 12)))
    assert "the patching code of Linux 7.2 is not replayed here, that of 6.1 and 6.12 is" in unknown
    assert "return sites: 1" in unknown
    assert judged(image, b"\xc3\xcc\xcc\xcc\xcc\x90\xc3") == [Mechanism.NOT_REPLAYED]
    assert judged(image, CALL + b"\xcc\xc3") == [None]


def test_a_module_without_patched_places_leaves_nothing_open_but_the_release() -> None:
    image, unknown = replay(module(), kernel(release=(7, 2), at=(6, 12)))
    assert len(unknown) == 1
    assert judged(image, CALL + b"\x90\xc3") == []


@pytest.mark.parametrize("table", [".retpoline_sites", ".call_sites"])
def test_counted_calls_are_a_limit_on_6_12(table: str) -> None:
    image, unknown = replay(module(table), kernel(CALL_DEPTH, RETPOLINE, release=(6, 12)))
    assert len(unknown) == 1 and "call depth tracking" in unknown[0]
    assert judged(image, b"\xe8\1\2\3\4\x90\xc3") == [Mechanism.NOT_REPLAYED]


def test_calls_that_are_not_counted_stay_as_they_are() -> None:
    image, unknown = replay(module(".call_sites"), kernel(release=(6, 12)))
    assert unknown == ()
    assert judged(image, b"\xe8\1\2\3\4\x90\xc3") == [None]
