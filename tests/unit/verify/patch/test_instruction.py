"""How long instructions are, against the SDM's examples and another decoder."""

from __future__ import annotations

import capstone
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kmod_harness.verify.patch.instruction import LONGEST, Undecodable, instruction_length


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("90", "nop"),
        ("c3", "ret"),
        ("e8 00000000", "call rel32"),
        ("2e e8 00000000", "call rel32 with a CS prefix"),
        ("0f 84 00000000", "je rel32"),
        ("eb 10", "jmp rel8"),
        ("48 b8 8877665544332211", "movabs: 64 bits of immediate"),
        ("b8 90909090", "mov eax, imm32 that looks like NOPs"),
        ("66 b8 9090", "mov ax, imm16"),
        ("66 c7 00 9090", "mov word, imm16"),
        ("48 c7 c0 90909090", "mov rax, imm32"),
        ("f6 c3 90", "test bl, imm8"),
        ("f7 c3 90909090", "test ebx, imm32"),
        ("f7 d3", "not ebx: the same opcode without an immediate"),
        ("48 8b 05 90909090", "mov rax, [rip+disp32]"),
        ("48 8b 04 25 90909090", "mov rax, [disp32] through SIB"),
        ("48 8b 44 24 90", "mov rax, [rsp+disp8]"),
        ("65 48 8b 04 25 90909090", "mov rax, gs:[disp32]"),
        ("0f b9 cc", "ud1 esp, ecx: a static call trampoline's mark"),
        ("66 0f 1f 44 00 00", "nop of six bytes"),
        ("0f ba e0 90", "bt eax, imm8"),
        ("66 0f 3a 0f c1 90", "palignr, imm8"),
        ("0f 38 f0 00", "movbe"),
        ("c5 f8 77", "vzeroupper: VEX without ModRM"),
        ("c5 f9 70 c1 90", "vpshufd, imm8"),
        ("c4 e3 75 46 c2 31", "vperm2i128, imm8"),
        ("62 f1 7c 48 28 40 01", "vmovaps zmm0, [rax+disp8]"),
        ("c8 1000 00", "enter"),
        ("a1 8877665544332211", "mov eax, moffs64"),
    ],
)
def test_the_length_is_that_of_the_instruction(code: str, text: str) -> None:
    data = bytes.fromhex(code.replace(" ", ""))
    assert instruction_length(data + b"\x90" * 8) == len(data), text


@pytest.mark.parametrize(
    "code", ["", "e8 0000", "0f", "06", "60", "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90"]
)
def test_what_is_no_whole_instruction_is_undecodable(code: str) -> None:
    with pytest.raises(Undecodable):
        instruction_length(bytes.fromhex(code.replace(" ", "")))


PREFIX = st.sampled_from((b"", b"\x66", b"\xf2", b"\xf3", b"\x2e", b"\x65", b"\xf0"))
REX = st.one_of(st.just(b""), st.integers(0x40, 0x4F).map(lambda rex: bytes((rex,))))
MAP = st.sampled_from((b"", b"\x0f", b"\x0f\x38", b"\x0f\x3a"))
#: Opcodes that are prefixes, escapes, or begin VEX, EVEX and XOP: they come from MAP, or never in a kernel.
OPCODE = st.integers(0, 255).filter(
    lambda code: (
        code not in (0x0F, 0x8F, 0xC4, 0xC5, 0x62, 0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x64, 0x65)
        and code not in (0x26, 0x2E, 0x36, 0x3E)
        and not 0x40 <= code <= 0x4F
    )
)


@settings(max_examples=500)
@given(PREFIX, REX, MAP, OPCODE, st.binary(min_size=LONGEST, max_size=LONGEST))
def test_capstone_agrees_wherever_it_knows_the_instruction(
    prefix: bytes, rex: bytes, table: bytes, opcode: int, rest: bytes
) -> None:
    code = (prefix + rex + table + bytes((opcode,)) + rest)[:LONGEST]
    known = next(capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64).disasm_lite(code, 0, 1), None)
    assume(known is not None)
    _, length, name, _ = known
    # capstone reads UD0 and UD1 without their ModRM
    assume(name not in ("ud0", "ud1"))
    # SSE4a's immediates, of one vendor's oldest CPUs
    assume(name not in ("extrq", "insertq"))
    # moves from and to control registers ignore what ModRM says of memory (SDM); none says it
    assume(not (table == b"\x0f" and 0x20 <= opcode <= 0x23))
    # near branches with an operand-size prefix: AMD's and Intel's CPUs differ
    assume(not (prefix == b"\x66" and name.startswith(("j", "call", "loop", "ret"))))
    assert instruction_length(code) == length
