"""Code the kernel changed and why: each change with the whole instructions of before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmod_harness.verify.mechanism import Mechanism
from kmod_harness.verify.patch.instruction import LONGEST, Undecodable, instruction_length
from kmod_harness.verify.report import ModuleReport, SectionReport
from kmod_harness.verify.source_location import disassembly, function_start, symbol_at


@dataclass(frozen=True)
class CodeChange:
    """One explained change, from the first byte of an instruction: bytes and instructions before and after.

    bound_to: the symbol the old code was relocated against, "" for none.
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
    """Yields what was changed in the module's text, ascending in each section."""
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
    """Where the instructions of a section start, decoded function by function as places are asked for."""

    def __init__(self, module: ModuleReport, section: SectionReport) -> None:
        self._module, self._section = module, section
        self._function = self._at = -1

    def at_or_before(self, offset: int) -> int:
        """The start of the instruction that holds an offset; offsets are asked for in ascending order."""
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
