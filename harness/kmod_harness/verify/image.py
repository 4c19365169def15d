"""A module's sections as the kernel has them while it loads: linked, then patched step by step.

A replay of the kernel's writes, in their order, gives the bytes that memory has to hold. The mechanism that
wrote a byte last is kept, so that each difference has a name.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from kmod_harness.kmod.elf.module import Section
from kmod_harness.kmod.link.relocation import LinkedModule
from kmod_harness.verify.mechanism import Mechanism, code_of


@dataclass(frozen=True)
class AllowedChange:
    """A field whose bytes are not predicted and may change.

    start: address of the field
    size: bytes
    mechanism: the mechanism that may write it
    accepts: function that returns whether the mechanism can have written the bytes in memory
    """

    start: int
    size: int
    mechanism: Mechanism
    accepts: Callable[[bytes], bool] = field(default=lambda now: True, repr=False, compare=False)


@dataclass
class SectionImage:
    """One section as memory has to hold it.

    section: the section in the file
    block: block it lies in
    address: address of its first byte
    linked: bytes as relocation left them
    data: bytes that memory has to hold
    owner: for each byte the code of the mechanism that wrote it last (mechanism.code_of), 0 for none
    allowed: fields that may change
    """

    section: Section
    block: str
    address: int
    linked: bytes
    data: bytearray
    owner: bytearray
    allowed: list[AllowedChange] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.address + len(self.linked)


class ModuleImage:
    """The sections of a module that have an address, the init block's too; addresses are the guest's."""

    def __init__(self, linked: LinkedModule) -> None:
        self.module = linked.module
        #: findings of the replay outside of the module's own sections
        self.problems: list[str] = []
        self.sections = tuple(
            SectionImage(
                part.section,
                part.block,
                part.address,
                part.data,
                bytearray(part.data),
                bytearray(len(part.data)),
            )
            for part in sorted(linked.sections, key=lambda part: part.address)
            if part.data
        )

    @cached_property
    def _starts(self) -> list[int]:
        return [section.address for section in self.sections]

    def section(self, name: str) -> SectionImage | None:
        """Returns the first section of that name, None when it is not kept."""
        return next((part for part in self.sections if part.section.name == name), None)

    def at(self, address: int) -> SectionImage | None:
        """Returns the section that holds an address, None outside of all."""
        index = bisect_right(self._starts, address) - 1
        return self.sections[index] if index >= 0 and address < self.sections[index].end else None

    def read(self, address: int, size: int) -> bytes:
        """Returns bytes as replayed so far; fewer at a section's end, none outside of all sections."""
        part = self.at(address)
        if part is None:
            return b""
        offset = address - part.address
        return bytes(part.data[offset : offset + size])

    def write(self, address: int, data: bytes, mechanism: Mechanism) -> None:
        """Writes what the kernel writes there; does nothing outside of all sections (in a freed one)."""
        part = self.at(address)
        if part is None or not data:
            return
        offset = address - part.address
        data = data[: len(part.data) - offset]
        part.data[offset : offset + len(data)] = data
        part.owner[offset : offset + len(data)] = bytes((code_of(mechanism),)) * len(data)

    def allow(self, allowed: AllowedChange) -> None:
        part = self.at(allowed.start)
        if part is not None:
            part.allowed.append(allowed)

    def words(self, name: str, size: int) -> Iterable[tuple[int, bytes]]:
        """Returns address and bytes of each whole entry of a table; nothing without such a section."""
        part = self.section(name)
        if part is None:
            return ()
        data = bytes(part.data)
        return [
            (part.address + offset, data[offset : offset + size])
            for offset in range(0, len(data) // size * size, size)
        ]
