"""The code that the kernel changed and why, with whole instructions before and after each change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.patch.instruction import LONGEST, Undecodable, instruction_length
from kmod_harness.verify.report import ModuleReport, SectionReport
from kmod_harness.verify.source_location import disassembly, function_start, symbol_at


@dataclass(frozen=True)
class CodeChange:
    """One explained change of code, extended to whole instructions.

    address: address of the first instruction
    symbol: function and offset, `name+offset/size`
    section: name of the section
    mechanism: the mechanism that wrote it
    bound_to: symbol that the old code was relocated against, "" for none
    old: bytes as relocation left them
    new: bytes in memory
    old_code: instructions of `old`
    new_code: instructions of `new`
    """

    address: int
    symbol: str
    section: str
    mechanism: Mechanism
    bound_to: str
    old: bytes
    new: bytes
    old_code: tuple[str, ...]
    new_code: tuple[str, ...]


def code_changes(module: ModuleReport) -> Iterator[CodeChange]:
    """Yields the changes of the module's text, ascending in each section."""
    for section in module.sections:
        if section.region != "text":
            continue
        bounds = _Boundaries(module, section)
        for difference in section.differences:
            if difference.mechanism is None:
                continue
            at = difference.address - section.address
            start = bounds.at_or_before(at)
            stop = at + difference.size
            yield CodeChange(
                address=section.address + start,
                symbol=symbol_at(module.file, section.section, start),
                section=section.name,
                mechanism=difference.mechanism,
                bound_to=_bound_in(section, start, stop),
                old=section.linked[start:stop],
                new=section.memory[start:stop],
                old_code=_code(section.linked, section.address, start, stop),
                new_code=_code(section.memory, section.address, start, stop),
            )


def _bound_in(section: SectionReport, start: int, stop: int) -> str:
    for at in range(section.address + start, section.address + stop):
        if at in section.bound:
            return section.bound[at]
    return ""


def _code(text: bytes, address: int, start: int, stop: int) -> tuple[str, ...]:
    return disassembly(text[start : stop + LONGEST], address + start, address + start, stop - start)


class _Boundaries:
    """The starts of the instructions of a section, decoded function by function as they are asked for."""

    def __init__(self, module: ModuleReport, section: SectionReport) -> None:
        self._module, self._section = module, section
        self._function = self._at = -1

    def at_or_before(self, offset: int) -> int:
        """Returns the start of the instruction at an offset; offsets have to be asked for in order."""
        function = function_start(self._module.file, self._section.section, offset)
        if function != self._function:
            self._function = self._at = function
        text = self._section.linked
        while True:
            try:
                length = instruction_length(text[self._at : self._at + LONGEST])
            except Undecodable:
                length = 1
            if self._at + length > offset:
                return self._at
            self._at += length
