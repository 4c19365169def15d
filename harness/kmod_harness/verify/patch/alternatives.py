"""`.altinstructions`: instructions replaced for this CPU, and NOPs joined to longer ones.

arch/x86/kernel/alternative.c: apply_alternatives, recompute_jump, optimize_nops of 6.1.192;
apply_alternatives, alt_replace_call of 6.12.118, whose handling of instructions is in moved_code.py;
analyze_patch_site of 7.2.13.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from kmod_harness.releases import facts
from kmod_harness.verify.image import ModuleImage
from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.outside.kernel_state import KernelState
from kmod_harness.verify.patch.instruction import LONGEST, Undecodable, instruction_length
from kmod_harness.verify.patch.moved_code import LONG_NOPS, moved, with_joined_nops

NOP = 0x90
#: `x86_nops` by length (arch/x86/include/asm/nops.h, 6.1), which has none of more than eight bytes.
NOPS = LONG_NOPS[:9]
_INVERTED = 1 << 15
#: `struct alt_instr` (arch/x86/include/asm/alternative.h, 6.1.192): two offsets relative to themselves,
#: feature, length of the original, length of the replacement.
_ENTRY = struct.Struct("<iiHBB")
#: The same with flags in the feature's upper half.
_ENTRY_WITH_FLAGS = struct.Struct("<iiIBB")
#: ALT_FLAG_NOT and ALT_FLAG_DIRECT_CALL (the same file, 6.12.118).
_NOT, _DIRECT_CALL = 1 << 16, 1 << 17
_CALL_THROUGH_MEMORY = b"\xff\x15"


@dataclass(frozen=True)
class Alternative:
    """One entry of the table.

    entry: its own address
    instruction: address of the original code
    length: bytes of the original code
    replacement: address of the replacement
    replacement_length: bytes of the replacement
    feature: number of the CPU feature that decides
    inverted: True when the replacement is taken without the feature
    direct_call: True when the original calls through memory, and the replacement calls the function found
        there
    """

    entry: int
    instruction: int
    length: int
    replacement: int
    replacement_length: int
    feature: int
    inverted: bool
    direct_call: bool = False


def alternatives(image: ModuleImage, release: tuple[int, int]) -> Iterator[Alternative]:
    """Yields the module's entries in the order of the table."""
    layout = _ENTRY_WITH_FLAGS if facts.ALTERNATIVE_FLAGS.holds(release) else _ENTRY
    inverted = _NOT if layout is _ENTRY_WITH_FLAGS else _INVERTED
    for address, data in image.words(".altinstructions", layout.size):
        instruction, replacement, feature, length, replacement_length = layout.unpack(data)
        yield Alternative(
            address,
            address + instruction,
            length,
            address + 4 + replacement,
            replacement_length,
            feature & (inverted - 1) & 0xFFFF,
            bool(feature & inverted),
            layout is _ENTRY_WITH_FLAGS and bool(feature & _DIRECT_CALL),
        )


def apply_alternatives(image: ModuleImage, kernel: KernelState) -> None:
    """Replays the table; a later entry may overwrite an earlier one."""
    if facts.ALTERNATIVE_FLAGS.holds(kernel.release):
        _apply_with_flags(image, kernel)
        return
    for entry in alternatives(image, kernel.release):
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


def _apply_with_flags(image: ModuleImage, kernel: KernelState) -> None:
    entries = list(alternatives(image, kernel.release))
    once = facts.ALTERNATIVES_ONCE.holds(kernel.release)
    for entry in _chosen(entries, kernel) if once else _padded(image, entries):
        original = image.read(entry.instruction, entry.length)
        if len(original) < entry.length:
            continue  # in a section that has no address any more
        mechanism = Mechanism.ALTERNATIVE
        if kernel.has(entry.feature) == entry.inverted:
            code = with_joined_nops(original)
        else:
            code = image.read(entry.replacement, entry.replacement_length)
            if entry.direct_call:
                mechanism = Mechanism.PARAVIRT
                code = _direct_call(entry, original, code, kernel)
            code = code.ljust(entry.length, bytes((NOP,)))
            code = moved(code, entry.replacement, entry.instruction, entry.replacement_length)
        before = image.read(entry.instruction, len(code))
        for start, now in changed_runs(before, code[: len(before)]):
            image.write(entry.instruction + start, now, mechanism)


def _chosen(entries: list[Alternative], kernel: KernelState) -> Iterator[Alternative]:
    """Yields the entry that each place is written by: the last that applies, with the longest length."""
    for _, group in groupby(entries, lambda entry: entry.instruction):
        place = list(group)
        applying = [entry for entry in place if kernel.has(entry.feature) != entry.inverted]
        yield replace([*place, *applying][-1], length=max(entry.length for entry in place))


def _padded(image: ModuleImage, entries: list[Alternative]) -> Iterator[Alternative]:
    """Yields the entries with the lengths that the kernel writes back: at one place each gets the longest."""
    lengths = [entry.length for entry in entries]
    for at, entry in enumerate(entries):
        for other in range(at + 1, len(entries)):
            if entries[other].instruction != entry.instruction:
                break
            lengths[at] = lengths[other] = max(lengths[at], lengths[other])
    for entry, length in zip(entries, lengths, strict=True):
        if length != entry.length:
            at = entry.entry + _ENTRY_WITH_FLAGS.size - 2
            image.write(at, bytes((length,)), Mechanism.ALTERNATIVE)
        yield replace(entry, length=length)


def _direct_call(entry: Alternative, original: bytes, call: bytes, kernel: KernelState) -> bytes:
    """Returns a call of the function that the indirect call finds in memory; b"" where that does nothing.

    The replacement calls BUG_func, from which the distance is computed.
    """
    if len(call) != 5 or original[:2] != _CALL_THROUGH_MEMORY:
        return call
    pointer = entry.instruction + 6 + int.from_bytes(original[2:6], "little", signed=True)
    nowhere = kernel.symbol("BUG_func")
    function = kernel.word(pointer) or nowhere
    if function == kernel.symbol("nop_func"):
        return b""
    return call[:1] + _signed32(int.from_bytes(call[1:], "little") + function - nowhere)


def replaced(entry: Alternative, replacement: bytes) -> bytes:
    """Returns the bytes written over the original: calls and jumps moved, padded with one-byte NOPs."""
    code = bytearray(replacement)
    if len(code) == 5 and code[0] == 0xE8:
        moved = int.from_bytes(code[1:], "little", signed=True) + entry.replacement - entry.instruction
        code[1:] = _signed32(moved)
    elif len(code) == 5 and code[0] in (0xE9, 0xEB):
        code[:] = _recomputed_jump(entry, bytes(code))
    return bytes(code).ljust(entry.length, bytes((NOP,)))


def _recomputed_jump(entry: Alternative, code: bytes) -> bytes:
    """Returns a short jump where the target is near and ahead; the kernel never shortens a backward jump."""
    target = entry.replacement + 5 + int.from_bytes(code[1:], "little", signed=True)
    distance = target - entry.instruction
    if 0 <= distance <= 127 + 2:
        return bytes((0xEB, (distance - 2) & 0xFF)) + NOPS[3]
    return b"\xe9" + _signed32(distance - 5)


def optimise_nops(code: bytes, length: int) -> bytes:
    """Returns `code` with each run of one-byte NOPs in its first `length` bytes joined to few long ones.

    `code` continues behind `length`, as memory does: the kernel decodes across that end, and gives up at the
    first bytes that it cannot decode.
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
    """Returns the NOPs of `add_nops`: eight bytes each, and one for the rest."""
    return NOPS[8] * (length // 8) + NOPS[length % 8]


def changed_runs(before: bytes, after: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields offset and new bytes of each run that differs."""
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


def sites(image: ModuleImage, release: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns address and size of each place that may be written to, the table's lengths among them."""
    places = []
    flags, once = facts.ALTERNATIVE_FLAGS.holds(release), facts.ALTERNATIVES_ONCE.holds(release)
    for entry in alternatives(image, release):
        places.append((entry.instruction, max(entry.length, entry.replacement_length)))
        if flags and not once:
            places.append((entry.entry + _ENTRY_WITH_FLAGS.size - 2, 1))
    return places
