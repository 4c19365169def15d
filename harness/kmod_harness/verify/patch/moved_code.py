"""Replacement code as Linux 6.12 writes it: each instruction moved, NOPs joined to long ones.

arch/x86/kernel/alternative.c, 6.12.118: __apply_relocation, optimize_nops, add_nop.
"""

from __future__ import annotations

from kmod_harness.verify.patch.instruction import (
    LONGEST,
    Undecodable,
    instruction_length,
    opcode_at,
    rip_displacement_at,
)

_NOP, _INT3, _JMP8, _JMP32, _CALL = 0x90, 0xCC, 0xEB, 0xE9, 0xE8
_ESCAPE, _REPEAT = 0x0F, 0xF3
#: `x86_nops` by length, up to ASM_NOP_MAX (arch/x86/include/asm/nops.h, 6.12.118).
LONG_NOPS = (
    b"",
    b"\x90",
    b"\x66\x90",
    b"\x0f\x1f\x00",
    b"\x0f\x1f\x40\x00",
    b"\x0f\x1f\x44\x00\x00",
    b"\x66\x0f\x1f\x44\x00\x00",
    b"\x0f\x1f\x80\x00\x00\x00\x00",
    b"\x0f\x1f\x84\x00\x00\x00\x00\x00",
    b"\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00",
    b"\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00",
    b"\x66\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00",
)


def moved(code: bytes, source: int, target: int, length: int) -> bytes:
    """Returns `code`, which is at `source` and `length` bytes long, as it is at `target`.

    Branches out of it keep their targets; a jump whose distance fits 8 bits becomes a short one. Bytes behind
    `length` are NOPs (text_poke_apply_relocation).
    """
    result = bytearray(code)
    at = 0
    while at < len(result):
        try:
            size = instruction_length(bytes(result[at : at + LONGEST]))
        except Undecodable:
            break
        _move(result, at, size, source - target, length)
        at += size
    return with_joined_nops(bytes(result))


def _move(code: bytearray, at: int, size: int, by: int, length: int) -> None:
    """Moves one instruction in place; `by` bytes are added to what it counts from its own end."""
    one = bytes(code[at : at + size])
    opcode = one[opcode_at(one) :]
    after = at + size
    width = _branch_width(opcode)
    if width:
        distance = _signed(one[-width:])
        if not 0 <= after + distance <= length:
            code[after - width : after] = _packed(distance + by, width)
        short = distance + by + 3  # JMP32_INSN_SIZE - JMP8_INSN_SIZE
        if opcode[0] == _JMP32 and -128 <= short <= 127:
            code[at:after] = bytes((_JMP8, short & 0xFF)).ljust(size, bytes((_INT3,)))
    place = rip_displacement_at(one)
    if place is not None:
        distance = _signed(one[place : place + 4])
        if not 0 <= after + distance <= length:
            code[at + place : at + place + 4] = _packed(distance + by, 4)


def _branch_width(opcode: bytes) -> int:
    """Returns the size of the distance that ends a relative branch; 0 for other instructions."""
    if opcode[0] == _ESCAPE and opcode[1] & 0xF0 == 0x80:
        return 4
    if opcode[0] & 0xF0 == 0x70 or opcode[0] == _JMP8:
        return 1
    return 4 if opcode[0] in (_JMP32, _CALL) else 0


def with_joined_nops(code: bytes) -> bytes:
    """Returns `code` with each run of NOPs joined to one; a single one at the end stays (optimize_nops)."""
    result = bytearray(code)
    at = 0
    while at < len(result):
        size = _nop_or_length(result, at)
        if size is None:
            break
        end, is_nop = at + abs(size), size < 0
        if is_nop:
            if end == len(result):
                break
            while end < len(result) and (more := _nop_or_length(result, end)) is not None and more < 0:
                end -= more
            end = min(end, len(result))
            result[at:end] = one_nop(end - at)
        at = end
    return bytes(result)


def _nop_or_length(code: bytes | bytearray, at: int) -> int | None:
    """Returns the length of the instruction there, negative for a NOP; None where it cannot be decoded."""
    one = bytes(code[at : at + LONGEST])
    try:
        size = instruction_length(one)
    except Undecodable:
        return None
    start = opcode_at(one)
    is_nop = (one[start] == _NOP and one[0] != _REPEAT) or one[start : start + 2] == b"\x0f\x1f"
    return -size if is_nop else size


def one_nop(length: int) -> bytes:
    """Returns a NOP of that many bytes; for more than 11, a jump over bytes that never run (add_nop)."""
    if length < len(LONG_NOPS):
        return LONG_NOPS[length]
    jump = (
        bytes((_JMP8, length - 2)) if length < 128 else bytes((_JMP32,)) + (length - 5).to_bytes(4, "little")
    )
    return jump.ljust(length, bytes((_INT3,)))


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _packed(value: int, width: int) -> bytes:
    return (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
