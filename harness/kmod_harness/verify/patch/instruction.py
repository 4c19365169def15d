"""The length of an x86-64 instruction, as the kernel's own decoder gives it to its patching code.

Only lengths are decoded, by the opcode maps of the Intel SDM, volume 2, appendix A. The kernel decides with
`insn_decode_kernel` (arch/x86/lib/insn.c, 6.1) where a NOP is an instruction and where the byte 0x90 is part
of one; a replay has to decide the same.
"""

from __future__ import annotations

#: `MAX_INSN_SIZE` (arch/x86/include/asm/insn.h, 6.1).
LONGEST = 15

_PREFIXES = frozenset((0x66, 0x67, 0xF2, 0xF3, 0xF0, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65))


def _bytes(*ranges: int | tuple[int, int]) -> frozenset[int]:
    """Returns the opcodes of single numbers and (first, last) pairs."""
    return frozenset(
        code
        for item in ranges
        for code in (range(item[0], item[1] + 1) if isinstance(item, tuple) else (item,))
    )


_ARITHMETIC = range(0x00, 0x40, 8)  # ADD, OR, ADC, SBB, AND, SUB, XOR, CMP
_MODRM = _bytes(
    *((base, base + 3) for base in _ARITHMETIC),
    0x63, 0x69, 0x6B, (0x80, 0x8F), 0xC0, 0xC1, 0xC6, 0xC7, (0xD0, 0xD3), (0xD8, 0xDF), 0xF6, 0xF7,
    0xFE, 0xFF,
)  # fmt: skip
_IMMEDIATE_8 = _bytes(
    *(base + 4 for base in _ARITHMETIC),
    0x6A, 0x6B, (0x70, 0x7F), 0x80, 0x83, 0xA8, (0xB0, 0xB7), 0xC0, 0xC1, 0xC6, 0xCD, (0xE0, 0xE7), 0xEB,
)  # fmt: skip
_IMMEDIATE_Z = _bytes(*(base + 5 for base in _ARITHMETIC), 0x68, 0x69, 0x81, 0xA9, 0xC7, 0xE8, 0xE9)
_INVALID = _bytes(
    0x06, 0x07, 0x0E, 0x16, 0x17, 0x1E, 0x1F, 0x27, 0x2F, 0x37, 0x3F,
    0x60, 0x61, 0x82, 0x9A, 0xCE, (0xD4, 0xD6), 0xEA,
)  # fmt: skip
#: Two-byte opcodes (0F xx) without ModRM; the Jcc rel32 among them.
_NO_MODRM_0F = _bytes(
    (0x05, 0x09), 0x0B, 0x0E, (0x30, 0x37), 0x77, (0x80, 0x8F), (0xA0, 0xA2), (0xA8, 0xAA), (0xC8, 0xCF)
)
_IMMEDIATE_8_0F = _bytes(0x0F, (0x70, 0x73), 0xA4, 0xAC, 0xBA, 0xC2, (0xC4, 0xC6))
_INVALID_0F = _bytes(0x04, 0x0A, 0x0C, (0x24, 0x27), 0x36, 0x39, (0x3B, 0x3F))


class Undecodable(ValueError):
    """The bytes are not an instruction of 64-bit mode, or not a whole one."""


def instruction_length(code: bytes) -> int:
    """Returns the length in bytes of the instruction at the start of `code`. Raises Undecodable."""
    try:
        length = _length(code)
    except IndexError:
        raise Undecodable("the bytes end within an instruction") from None
    if length > min(LONGEST, len(code)):
        raise Undecodable(f"{length} bytes needed, {len(code)} given")
    return length


def opcode_at(code: bytes) -> int:
    """Returns the offset of the opcode of a whole instruction, or of its VEX or EVEX prefix."""
    at = 0
    while code[at] in _PREFIXES:
        at += 1
    return at + (0x40 <= code[at] <= 0x4F)


def rip_displacement_at(code: bytes) -> int | None:
    """Returns the offset of an instruction's RIP-relative displacement, None when it has none."""
    at = _modrm_at(code)
    return at + 1 if at is not None and code[at] >> 6 == 0 and code[at] & 7 == 5 else None


def _modrm_at(code: bytes) -> int | None:
    at = opcode_at(code)
    opcode = code[at]
    if opcode in (0xC5, 0xC4, 0x62):
        at += {0xC5: 2, 0xC4: 3, 0x62: 4}[opcode]
        return at + 1 if code[at] != 0x77 else None
    if opcode == 0x0F:
        if code[at + 1] in (0x38, 0x3A):
            return at + 3
        return at + 2 if code[at + 1] not in _NO_MODRM_0F else None
    return at + 1 if opcode in _MODRM else None


def _length(code: bytes) -> int:
    at = 0
    narrow = short_address = False
    while code[at] in _PREFIXES:
        narrow |= code[at] == 0x66
        short_address |= code[at] == 0x67
        at += 1
    wide = False
    if 0x40 <= code[at] <= 0x4F:
        wide = bool(code[at] & 8)
        at += 1
    opcode = code[at]
    if opcode in (0xC5, 0xC4, 0x62):
        return _vector_length(code, at)
    if opcode == 0x0F:
        return _two_byte_length(code, at + 1, narrow)
    if opcode in _INVALID:
        raise Undecodable(f"opcode {opcode:#04x} does not exist in 64-bit mode")
    at += 1
    z = 2 if narrow and not wide else 4
    if opcode in (0xF6, 0xF7) and (code[at] >> 3) & 7 < 2:  # TEST with an immediate
        return at + _modrm_length(code, at) + (1 if opcode == 0xF6 else z)
    if opcode in _MODRM:
        at += _modrm_length(code, at)
    if opcode in _IMMEDIATE_8:
        at += 1
    elif opcode in _IMMEDIATE_Z:
        at += z if opcode not in (0xE8, 0xE9) else 4
    elif 0xB8 <= opcode <= 0xBF:
        at += 8 if wide else z
    elif 0xA0 <= opcode <= 0xA3:
        at += 4 if short_address else 8
    elif opcode in (0xC2, 0xCA):
        at += 2
    elif opcode == 0xC8:
        at += 3
    return at


def _two_byte_length(code: bytes, at: int, narrow: bool) -> int:
    opcode = code[at]
    at += 1
    if opcode in (0x38, 0x3A):
        at += 1
        return at + _modrm_length(code, at) + (opcode == 0x3A)
    if opcode in _INVALID_0F:
        raise Undecodable(f"opcode 0x0f {opcode:#04x} does not exist in 64-bit mode")
    if opcode not in _NO_MODRM_0F:
        at += _modrm_length(code, at)
    if opcode in _IMMEDIATE_8_0F:
        at += 1
    elif 0x80 <= opcode <= 0x8F:
        at += 4
    return at


def _vector_length(code: bytes, at: int) -> int:
    """Returns the length of a VEX or EVEX instruction: all have ModRM but VZEROUPPER and VZEROALL."""
    first = code[at]
    table = 1 if first == 0xC5 else code[at + 1] & (0x1F if first == 0xC4 else 0x07)
    at += {0xC5: 2, 0xC4: 3, 0x62: 4}[first]
    opcode = code[at]
    at += 1
    if table == 1 and opcode == 0x77:
        return at
    at += _modrm_length(code, at)
    return at + (table == 3 or (table == 1 and opcode in _IMMEDIATE_8_0F))


def _modrm_length(code: bytes, at: int) -> int:
    """Returns the bytes of ModRM, SIB and displacement."""
    modrm = code[at]
    mode, base = modrm >> 6, modrm & 7
    if mode == 3:
        return 1
    length = 1
    if base == 4:
        base = code[at + 1] & 7
        length += 1
        if mode == 0 and base == 5:
            return length + 4
    elif mode == 0 and base == 5:  # relative to the instruction pointer
        return length + 4
    return length + (0, 1, 4)[mode]
