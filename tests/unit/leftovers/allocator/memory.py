"""Kernel memory made by hand: words at addresses, zero elsewhere."""

from __future__ import annotations


class Memory:
    """Bytes at addresses; what was not written is 0."""

    def __init__(self) -> None:
        self._bytes: dict[int, int] = {}

    def put(self, address: int, value: int, size: int = 8) -> None:
        for at, byte in enumerate((value & (1 << 8 * size) - 1).to_bytes(size, "little")):
            self._bytes[address + at] = byte

    def put_text(self, address: int, text: str) -> None:
        for at, byte in enumerate(text.encode() + b"\0"):
            self._bytes[address + at] = byte

    def read(self, address: int, size: int) -> bytes:
        return bytes(self._bytes.get(address + at, 0) for at in range(size))
