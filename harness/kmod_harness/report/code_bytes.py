"""The `Code:` line of a splat, disassembled (show_opcodes, arch/x86/kernel/dumpstack.c)."""

from __future__ import annotations

import re

from kmod_harness.kmod.elf.disassembly import Instruction, instructions

_BYTE = re.compile(r"<[0-9a-f]{2}>|\([0-9a-f]{2}\)|[0-9a-f]{2}")
_BYTES = re.compile(r"(?:(?:<[0-9a-f]{2}>|\([0-9a-f]{2}\)|[0-9a-f]{2}) ?){2,80}")
#: Bytes of the longest x86 instruction: the first one starts within so many bytes.
_LONGEST = 15
#: Instructions shown before the fault, and starting at it.
_SHOWN = 4


def disassembled(data: bytes, fault: int) -> list[str]:
    """Returns the instructions around index `fault`, with a mark at the one there; [] without bytes.

    The bytes of a `Code:` line start 42 before the fault, within some instruction. The first start from which
    decoding arrives at the fault is taken.
    """
    if not 0 <= fault < len(data):
        return []
    before: list[Instruction] = []
    for start in range(min(_LONGEST, fault + 1)):
        before = list(instructions(data[start:fault], start))
        if start == fault or (before and before[-1].end == fault):
            break
    after = list(instructions(data[fault:], fault))
    return [
        *(_line(" ", instruction, fault) for instruction in before[-_SHOWN:]),
        *(_line(">", instruction, fault) for instruction in after[:1]),
        *(_line(" ", instruction, fault) for instruction in after[1:_SHOWN]),
    ]


def parse_code(code: str) -> tuple[bytes, int]:
    """Returns the bytes and the index of the faulting one, which is `<0f>`; (b"", 0) where the line has none.

    >>> parse_code("48 89 <0f> 0b c3")
    (b'H\\x89\\x0f\\x0b\\xc3', 2)
    """
    match = _BYTES.search(code[:400])
    words = _BYTE.findall(match[0]) if match else []
    fault = next((index for index, word in enumerate(words) if word[0] in "<("), None)
    if fault is None:
        return b"", 0
    return bytes(int(word.strip("<>()"), 16) for word in words), fault


def _line(mark: str, instruction: Instruction, fault: int) -> str:
    return f"{mark} {instruction.address - fault:+4d}: {instruction.data.hex(' '):30} {instruction.text}"
