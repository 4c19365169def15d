"""x86-64 code as text, by capstone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: Capstone 5 knows their first bytes, not their operand. Linux 7.2 has `ud1` at each WARN with a message.
_WITH_UNREAD_OPERAND = ("ud0", "ud1")


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    address: address of its first byte
    data: its bytes
    text: mnemonic and operands, Intel syntax
    """

    address: int
    data: bytes
    text: str

    @property
    def end(self) -> int:
        """The address behind its last byte."""
        return self.address + len(self.data)


def instructions(code: bytes, address: int, *, past_data: bool = False) -> Iterator[Instruction]:
    """Yields the instructions of `code`, whose first byte is at `address` and starts an instruction.

    Ends at bytes that are no instruction; with `past_data` these are yielded as `.byte`, and decoding
    continues behind them.
    """
    import capstone  # a library of 10 MB, which most runs do not need  # lazy

    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.skipdata = past_data
    at = 0
    while at < len(code):
        start = at
        for where, length, name, operands in engine.disasm_lite(code[start:], address + start):
            at = where - address + length
            operand = operand_size(code[at:]) if name in _WITH_UNREAD_OPERAND else 0
            at += operand
            yield Instruction(where, code[where - address : at], f"{name} {operands}".rstrip())
            if operand:
                break
        else:
            return


def operand_size(code: bytes) -> int:
    """Returns the size in bytes of a ModRM operand at the start of `code`: ModRM, SIB, displacement.

    By tables 2-2 and 2-3 of Intel's manual, volume 2. 0 where `code` is too short for it.
    """
    if not code:
        return 0
    mode, base = code[0] >> 6, code[0] & 7
    if mode == 3:
        return 1
    size = 1
    if base == 4:
        if len(code) < 2:
            return 0
        size, base = 2, code[1] & 7
    size += {0: 4 if base == 5 else 0, 1: 1, 2: 4}[mode]
    return size if size <= len(code) else 0
