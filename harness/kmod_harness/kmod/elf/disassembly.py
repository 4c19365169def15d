"""x86-64 code as text, by capstone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


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
    for at, length, name, operands in engine.disasm_lite(code, address):
        yield Instruction(at, code[at - address : at - address + length], f"{name} {operands}".rstrip())
