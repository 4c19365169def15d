"""`.altinstructions`: instructions replaced for this CPU, and NOPs joined to longer ones.

arch/x86/kernel/alternative.c, 6.1.192: apply_alternatives, recompute_jump, optimize_nops.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from .image import Image
from .instruction import LONGEST, Undecodable, instruction_length
from .kernel_state import KernelState
from .mechanism import Mechanism

NOP = 0x90
#: `x86_nops` by length (arch/x86/include/asm/nops.h, 6.1).
NOPS = (
    b"",
    b"\x90",
    b"\x66\x90",
    b"\x0f\x1f\x00",
    b"\x0f\x1f\x40\x00",
    b"\x0f\x1f\x44\x00\x00",
    b"\x66\x0f\x1f\x44\x00\x00",
    b"\x0f\x1f\x80\x00\x00\x00\x00",
    b"\x0f\x1f\x84\x00\x00\x00\x00\x00",
)
_INVERTED = 1 << 15
#: `struct alt_instr` (arch/x86/include/asm/alternative.h, 6.1): two offsets relative to themselves,
#: feature, length of the original, length of the replacement.
_ENTRY = struct.Struct("<iiHBB")


@dataclass(frozen=True)
class Alternative:
    """One entry: addresses and lengths in bytes of both codes, the feature, whether its absence counts."""

    instruction: int
    length: int
    replacement: int
    replacement_length: int
    feature: int
    inverted: bool


def alternatives(image: Image) -> Iterator[Alternative]:
    """The module's entries in the table's order."""
    for address, data in image.words(".altinstructions", _ENTRY.size):
        instruction, replacement, feature, length, replacement_length = _ENTRY.unpack(data)
        yield Alternative(
            address + instruction,
            length,
            address + 4 + replacement,
            replacement_length,
            feature & ~_INVERTED,
            bool(feature & _INVERTED),
        )


def apply_alternatives(image: Image, kernel: KernelState) -> None:
    """Replays the table; a later entry may overwrite an earlier one."""
    for entry in alternatives(image):
        original = image.read(entry.instruction, entry.length)
        if len(original) < entry.length:
            continue  # in a section that has no address any more
        if kernel.has(entry.feature) != entry.inverted:
            patched = replaced(entry, image.read(entry.replacement, entry.replacement_length))
            image.write(entry.instruction, patched, Mechanism.ALTERNATIVE)
        code = image.read(entry.instruction, entry.length + LONGEST)
        optimised = optimise_nops(code, entry.length)
        for start, nops in changed_runs(code, optimised):
            image.write(entry.instruction + start, nops, Mechanism.ALTERNATIVE)


def replaced(entry: Alternative, replacement: bytes) -> bytes:
    """The bytes that go over the original: calls and jumps moved, padded with one-byte NOPs."""
    code = bytearray(replacement)
    if len(code) == 5 and code[0] == 0xE8:
        moved = int.from_bytes(code[1:], "little", signed=True) + entry.replacement - entry.instruction
        code[1:] = _signed32(moved)
    elif len(code) == 5 and code[0] in (0xE9, 0xEB):
        code[:] = _recomputed_jump(entry, bytes(code))
    return bytes(code).ljust(entry.length, bytes((NOP,)))


def _recomputed_jump(entry: Alternative, code: bytes) -> bytes:
    """A short jump where the target is near and ahead; the kernel never shortens one that goes back."""
    target = entry.replacement + 5 + int.from_bytes(code[1:], "little", signed=True)
    distance = target - entry.instruction
    if 0 <= distance <= 127 + 2:
        return bytes((0xEB, (distance - 2) & 0xFF)) + NOPS[3]
    return b"\xe9" + _signed32(distance - 5)


def optimise_nops(code: bytes, length: int) -> bytes:
    """`code` with runs of one-byte NOPs in its first `length` bytes joined to as few as possible.

    `code` goes on behind `length`, as memory does: the kernel decodes across that end, and
    gives up at the first byte sequence that it cannot decode.
    """
    result = bytearray(code)
    at = 0
    while at < length:
        try:
            size = instruction_length(bytes(result[at : at + LONGEST]))
        except Undecodable:
            break
        if size == 1 and result[at] == NOP:
            end = at
            while end < length and result[end] == NOP:
                end += 1
            if end - at > 1:
                result[at:end] = nops(end - at)
            at = end
        else:
            at += size
    return bytes(result)


def nops(length: int) -> bytes:
    """`add_nops`: NOPs of eight bytes, and one for the rest."""
    return NOPS[8] * (length // 8) + NOPS[length % 8]


def changed_runs(before: bytes, after: bytes) -> Iterator[tuple[int, bytes]]:
    """Offset and new bytes of each run that differs."""
    start = None
    for at in range(len(after) + 1):
        differs = at < len(after) and before[at] != after[at]
        if differs and start is None:
            start = at
        elif not differs and start is not None:
            yield start, after[start:at]
            start = None


def _signed32(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "little")


def sites(image: Image) -> list[tuple[int, int]]:
    """Address and size of each place an alternative may be written to."""
    return [(entry.instruction, max(entry.length, entry.replacement_length)) for entry in alternatives(image)]
