"""Given `.altinstructions`, when the kernel has applied them, then the code is as 6.1 leaves it."""

from __future__ import annotations

import struct

import pytest

from kmod_harness.verify.image import ModuleImage
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.patch.alternatives import apply_alternatives, nops, optimise_nops
from unit.verify.images import TABLES, TEXT, image, kernel

FEATURE = 9 * 32 + 4
INVERTED = 1 << 15
REPLACEMENTS = TEXT + 0x1000


def module(original: str, replacement: str, feature: int = FEATURE) -> ModuleImage:
    """A module whose whole text is one instruction sequence with one alternative."""
    old, new = bytes.fromhex(original), bytes.fromhex(replacement)
    entry = struct.pack("<iiHBB", TEXT - TABLES, REPLACEMENTS - (TABLES + 4), feature, len(old), len(new))
    return image(
        {
            ".text": (TEXT, old + b"\xc3"),
            ".altinstr_replacement.text": (REPLACEMENTS, new),
            ".altinstructions": (TABLES, entry),
        }
    )


def applied(it: ModuleImage, *features: int) -> str:
    apply_alternatives(it, kernel(*features))
    return it.read(TEXT, 64)[:-1].hex(" ")


def test_with_the_feature_the_replacement_stands_padded_with_long_nops() -> None:
    assert applied(module("0f aef8 90 90 90 90", "66 0f ae 38"), FEATURE) == "66 0f ae 38 0f 1f 00"


def test_without_it_the_original_stays_and_its_nops_are_joined() -> None:
    assert applied(module("31c0 90 90 90", "31db")) == "31 c0 0f 1f 00"


def test_a_negated_feature_counts_when_it_is_absent() -> None:
    assert applied(module("31c0", "31db", FEATURE | INVERTED)) == "31 db"
    assert applied(module("31c0", "31db", FEATURE | INVERTED), FEATURE) == "31 c0"


def test_a_call_leads_where_it_led_in_the_replacement() -> None:
    it = module("9090909090", "e8 00020000")
    applied(it, FEATURE)
    target = REPLACEMENTS + 5 + 0x200
    assert it.read(TEXT, 5) == b"\xe8" + struct.pack("<i", target - TEXT - 5)


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (TEXT + 0x10, "eb 0e 0f 1f 00"),
        (TEXT + 2 + 127, "eb 7f 0f 1f 00"),
        (TEXT + 2 + 128, "e9 7d 00 00 00"),
        (TEXT - 0x10, "e9 eb ff ff ff"),  # near, but behind: 6.1 never makes it short
    ],
)
def test_a_jump_is_short_when_its_target_is_near_and_ahead(target: int, code: str) -> None:
    jump = b"\xe9" + struct.pack("<i", target - REPLACEMENTS - 5)
    assert applied(module("9090909090", jump.hex()), FEATURE) == code


def test_an_instruction_in_a_freed_section_is_left_out() -> None:
    it = image({".altinstructions": (TABLES, struct.pack("<iiHBB", 0x100000, 0x100000, FEATURE, 2, 2))})
    apply_alternatives(it, kernel(FEATURE))


def test_what_was_written_bears_the_mechanisms_name() -> None:
    it = module("31c0", "31db")
    applied(it, FEATURE)
    part = it.section(".text")
    assert part is not None and part.owner[0] and not part.owner[2]
    assert part.owner[0] == list(Mechanism).index(Mechanism.ALTERNATIVE) + 1


def test_an_immediate_that_looks_like_nops_is_none() -> None:
    code = bytes.fromhex("b890909090") + b"\x90\x90\xc3"
    assert optimise_nops(code, 7) == bytes.fromhex("b890909090") + b"\x66\x90\xc3"


def test_nops_stop_at_what_cannot_be_decoded() -> None:
    code = b"\x06\x90\x90\x90"
    assert optimise_nops(code, 4) == code


def test_one_nop_stays_one_nop() -> None:
    assert optimise_nops(b"\x90\xc3", 1) == b"\x90\xc3"


def test_many_nops_are_eights_and_a_rest() -> None:
    assert nops(19).hex() == "0f1f840000000000" * 2 + "0f1f00"
