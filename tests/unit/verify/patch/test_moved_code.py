"""Given `.altinstructions`, when Linux 6.12 has applied them, then the code is as it leaves it."""

from __future__ import annotations

import struct

import pytest

from kmod_harness.verify.image import ModuleImage
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.patch.alternatives import apply_alternatives
from kmod_harness.verify.patch.moved_code import moved, one_nop, with_joined_nops
from unit.verify.images import KERNEL, TABLES, TEXT, image, kernel

FEATURE = 9 * 32 + 4
NOT, DIRECT_CALL = 1 << 16, 1 << 17
REPLACEMENTS = TEXT + 0x1000
POINTER, FUNCTION, BUG, NOTHING = KERNEL + 0x5000, KERNEL + 0x7000, KERNEL + 0x8000, KERNEL + 0x9000


def entry(number: int, length: int, replacement: int, replacement_length: int, feature: int) -> bytes:
    at = TABLES + 14 * number
    return struct.pack("<iiIBB", TEXT - at, replacement - (at + 4), feature, length, replacement_length)


def module(original: str, replacement: str, feature: int = FEATURE) -> ModuleImage:
    """A module whose whole text is one instruction sequence with one alternative."""
    old, new = bytes.fromhex(original), bytes.fromhex(replacement)
    return image(
        {
            ".text": (TEXT, old + b"\xc3"),
            ".altinstr_replacement.text": (REPLACEMENTS, new),
            ".altinstructions": (TABLES, entry(0, len(old), REPLACEMENTS, len(new), feature)),
        }
    )


def applied(it: ModuleImage, *features: int, function: int = FUNCTION) -> str:
    memory = {POINTER: function.to_bytes(8, "little")}
    symbols = {"BUG_func": BUG, "nop_func": NOTHING}
    apply_alternatives(it, kernel(*features, memory=memory, symbols=symbols, release=(6, 12)))
    return it.read(TEXT, 64)[:-1].hex(" ")


def test_a_flag_negates_the_feature() -> None:
    assert applied(module("31c0", "31db"), FEATURE) == "31 db"
    assert applied(module("31c0", "31db", FEATURE | NOT)) == "31 db"
    assert applied(module("31c0", "31db", FEATURE | NOT), FEATURE) == "31 c0"


def test_nops_of_the_original_are_joined_where_it_stays() -> None:
    assert applied(module("31c0" + "90" * 11, "31db")) == "31 c0 66 66 2e 0f 1f 84 00 00 00 00 00"


def test_each_instruction_that_leads_out_still_leads_there() -> None:
    # given: a move, a call, and a load by the instruction pointer, none of them the first
    replacement = "89c3e8 00020000488b05 00030000"
    it = module("90" * 14, replacement)
    applied(it, FEATURE)
    call, load = it.read(TEXT + 2, 5), it.read(TEXT + 7, 7)
    moved_by = REPLACEMENTS - TEXT
    assert struct.unpack("<i", call[1:])[0] == 0x200 + moved_by
    assert struct.unpack("<i", load[3:])[0] == 0x300 + moved_by


def test_a_branch_within_the_replacement_stays() -> None:
    assert applied(module("9090909090", "eb01 90 31db"), FEATURE) == "eb 01 90 31 db"


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (TEXT + 0x10, "eb 0e cc cc cc"),
        (TEXT - 0x10, "eb ee cc cc cc"),  # 6.1 makes none short that goes back
        (TEXT + 2 + 128, "e9 7d 00 00 00"),
    ],
)
def test_a_near_jump_becomes_short(target: int, code: str) -> None:
    jump = b"\xe9" + struct.pack("<i", target - REPLACEMENTS - 5)
    assert applied(module("9090909090", jump.hex()), FEATURE) == code


def paravirt() -> ModuleImage:
    """`call *pointer(%rip)`, and `call BUG_func` in its place."""
    through = "ff15" + struct.pack("<i", POINTER - TEXT - 6).hex()
    return module(through, "e8" + struct.pack("<i", BUG - REPLACEMENTS - 5).hex(), FEATURE | DIRECT_CALL)


def test_a_call_through_a_pointer_becomes_a_call_of_what_it_holds() -> None:
    it = paravirt()
    code = bytes.fromhex(applied(it, FEATURE))
    assert code[0] == 0xE8 and TEXT + 5 + struct.unpack("<i", code[1:5])[0] == FUNCTION
    assert code[5:] == b"\x90"
    part = it.section(".text")
    assert part is not None and part.owner[0] == list(Mechanism).index(Mechanism.PARAVIRT) + 1


def test_a_call_of_what_does_nothing_becomes_a_nop() -> None:
    assert applied(paravirt(), FEATURE, function=NOTHING) == "66 0f 1f 44 00 00"


def test_a_pointer_to_nowhere_leads_to_the_bug() -> None:
    code = bytes.fromhex(applied(paravirt(), FEATURE, function=0))
    assert TEXT + 5 + struct.unpack("<i", code[1:5])[0] == BUG


def test_alternatives_of_one_place_have_the_longest_length_and_the_table_says_so() -> None:
    # given: two for one place, the first shorter
    it = image(
        {
            ".text": (TEXT, bytes.fromhex("31c0 90 90 90 c3")),
            ".altinstr_replacement.text": (REPLACEMENTS, bytes.fromhex("31db 31c9 90")),
            ".altinstructions": (
                TABLES,
                entry(0, 2, REPLACEMENTS, 2, FEATURE) + entry(1, 5, REPLACEMENTS + 2, 3, FEATURE + 1),
            ),
        }
    )
    assert applied(it, FEATURE) == "31 db 0f 1f 00"
    assert it.read(TABLES + 12, 1) == it.read(TABLES + 14 + 12, 1) == b"\5"


@pytest.mark.parametrize(
    ("code", "joined"),
    [
        ("90 90 90 c3", "0f 1f 00 c3"),
        ("31c0 90", "31 c0 90"),
        ("0f1f00 90 90 c3", "0f 1f 44 00 00 c3"),  # NOPs that were long already
        ("f390 90 90", "f3 90 66 90"),  # PAUSE is none
        ("b890909090 90 90", "b8 90 90 90 90 66 90"),
        ("06 90 90", "06 90 90"),  # nothing behind what cannot be decoded
    ],
)
def test_a_run_of_nops_becomes_one(code: str, joined: str) -> None:
    assert with_joined_nops(bytes.fromhex(code)).hex(" ") == joined


def test_nops_before_what_cannot_be_decoded_are_joined_and_what_is_behind_it_stays() -> None:
    assert moved(bytes.fromhex("90 90 06 90 90"), TEXT + 0x100, TEXT, 5).hex(" ") == "66 90 06 90 90"


def test_a_run_too_long_for_one_nop_is_jumped_over() -> None:
    assert one_nop(12).hex(" ") == "eb 0a" + " cc" * 10
    assert one_nop(200)[:5] == b"\xe9" + (195).to_bytes(4, "little") and len(one_nop(200)) == 200


def test_what_cannot_be_decoded_is_left_as_it_is() -> None:
    assert moved(b"\x06\xe8\0\0\0\0", REPLACEMENTS, TEXT, 6) == b"\x06\xe8\0\0\0\0"
