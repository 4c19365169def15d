"""Given what the kernel's patching code did is not known, then the places it may write to are a limit."""

from __future__ import annotations

import struct

import pytest

from kmod_harness.kmod.elf.module import Symbol
from kmod_harness.kmod.link.relocation import LinkedModule
from kmod_harness.verify.comparison import compare
from kmod_harness.verify.image import ModuleImage
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.outside.kernel_state import ALWAYS, CALL_DEPTH, RETPOLINE
from kmod_harness.verify.patch.replay import replay
from unit.verify.images import KERNEL, TABLES, TEXT, kernel, linked, relative

CALL = b"\xe8\0\0\0\0"
PAD, FEW = b"\x90" * 16, b"\x90" * 8
#: `sarq $5, %gs:pcpu_hot+...(%rip)`, as Debian 13's 6.12.118 wrote it into a module
ACCOUNTING = bytes.fromhex("6548c13dd0d9aa3f05")


def module(*tables: str) -> LinkedModule:
    """A call, and behind it a byte that no table names; tables: those that name the call."""
    parts = {".text": (TEXT, CALL + b"\x90\xc3")}
    parts |= {
        name: (TABLES + 0x100 * number, relative(TABLES + 0x100 * number, TEXT))
        for number, name in enumerate(tables)
    }
    return linked(parts)


def judged(image: ModuleImage, memory: bytes) -> list[Mechanism | None]:
    part = image.section(".text")
    assert part is not None
    return [difference.mechanism for difference in compare(part, memory).differences]


def test_on_a_release_that_is_not_replayed_a_named_place_is_a_limit_and_another_is_found() -> None:
    image, unknown = replay(module(".return_sites"), kernel(release=(6, 18), at=(6, 12)))
    assert "the patching code of Linux 6.18 is not replayed here, that of 6.1, 6.12 and 7.2 is" in unknown
    assert "return sites: 1" in unknown
    assert judged(image, b"\xc3\xcc\xcc\xcc\xcc\x90\xc3") == [Mechanism.NOT_REPLAYED]
    assert judged(image, CALL + b"\xcc\xc3") == [None]


def test_a_module_without_patched_places_leaves_nothing_open_but_the_release() -> None:
    image, unknown = replay(module(), kernel(release=(6, 18), at=(6, 12)))
    assert len(unknown) == 1
    assert judged(image, CALL + b"\x90\xc3") == []


@pytest.mark.parametrize("table", [".retpoline_sites", ".call_sites"])
def test_counted_calls_are_a_limit_on_6_12(table: str) -> None:
    image, unknown = replay(module(table), kernel(CALL_DEPTH, RETPOLINE, release=(6, 12)))
    assert len(unknown) == 1 and "call depth tracking" in unknown[0]
    assert judged(image, b"\xe8\1\2\3\4\x90\xc3") == [Mechanism.NOT_REPLAYED]


def with_alternative() -> LinkedModule:
    """A call that no table of calls names, but that of alternatives; its own code is the alternative."""
    entry = struct.pack("<iiIBB", TEXT - TABLES, TEXT + 5 - (TABLES + 4), 1 << 16 | ALWAYS, 5, 0)
    return linked({".text": (TEXT, CALL + b"\x90\xc3"), ".altinstructions": (TABLES, entry)})


def functions() -> LinkedModule:
    """Two functions of one byte, the second with padding before it, the first with fewer NOPs."""
    return linked(
        {".text": (TEXT, FEW + b"\xc3" + PAD + b"\xc3")},
        tuple(Symbol(name, at, 1, "FUNC", "LOCAL", ".text") for name, at in (("first", 8), ("second", 25))),
    )


def test_a_counted_call_in_an_alternative_is_a_limit_without_a_table_of_calls() -> None:
    image, unknown = replay(with_alternative(), kernel(CALL_DEPTH, release=(6, 12)))
    assert len(unknown) == 1 and "call depth tracking" in unknown[0]
    assert judged(image, b"\xe8\1\2\3\4\x90\xc3") == [Mechanism.NOT_REPLAYED]
    assert judged(image, CALL + b"\xcc\xc3") == [None]
    image, unknown = replay(with_alternative(), kernel(release=(6, 12)))
    assert unknown == ()
    assert judged(image, b"\xe8\1\2\3\4\x90\xc3") == [None]


def test_where_calls_are_counted_the_padding_before_a_function_is_a_limit_and_no_other_byte() -> None:
    # given: no call of the module's own; another module's may have had the padding filled
    image, unknown = replay(functions(), kernel(CALL_DEPTH, release=(6, 12)))
    assert len(unknown) == 1 and "call depth tracking" in unknown[0]
    assert judged(image, FEW + b"\xc3" + PAD[:7] + ACCOUNTING + b"\xc3") == [Mechanism.NOT_REPLAYED]
    assert judged(image, FEW + b"\xcc" + PAD + b"\xc3") == [None], "the function before it"
    assert judged(image, FEW + b"\xc3" + PAD + b"\xcc") == [None], "the function itself"
    assert judged(image, b"\xcc" + FEW[1:] + b"\xc3" + PAD + b"\xc3") == [None], "too few for the counting"


@pytest.mark.parametrize("release", [(6, 1), (6, 12)])
def test_where_calls_are_not_counted_a_change_of_the_padding_is_found(release: tuple[int, int]) -> None:
    image, unknown = replay(functions(), kernel(release=release))
    assert unknown == ()
    assert judged(image, FEW + b"\xc3" + PAD[:7] + ACCOUNTING + b"\xc3") == [None]


def test_where_calls_are_counted_a_trampoline_of_the_modules_own_is_a_limit_too() -> None:
    trampoline, key = b"\xe9\0\0\0\0\x0f\xb9\xcc", TABLES + 0x1000
    symbols = (
        Symbol("__SCT__mine", 0, 8, "FUNC", "GLOBAL", ".text"),
        Symbol("__SCK__mine", 0, 16, "OBJECT", "GLOBAL", ".data"),
    )
    site = relative(TABLES, TEXT + 8) + relative(TABLES + 4, key)
    parts = {".text": (TEXT, trampoline + CALL), ".static_call_sites": (TABLES, site)}
    no_keys = {f"__{end}_static_call_tramp_key": KERNEL for end in ("start", "stop")}
    image, unknown = replay(
        linked({**parts, ".data": (key, bytes(16))}, symbols),
        kernel(CALL_DEPTH, memory={KERNEL: b""}, symbols=no_keys, release=(6, 12)),
    )
    assert len(unknown) == 1 and "call depth tracking" in unknown[0]
    assert judged(image, b"\xe9\1\2\3\4" + trampoline[5:] + CALL) == [Mechanism.NOT_REPLAYED]


def test_calls_that_are_not_counted_stay_as_they_are() -> None:
    image, unknown = replay(module(".call_sites"), kernel(release=(6, 12)))
    assert unknown == ()
    assert judged(image, b"\xe8\1\2\3\4\x90\xc3") == [None]
