"""The result of verification: by section, by module, and in total."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from kmod_harness.errors import KmodHarnessError
from kmod_harness.kmod.elf.module import KernelModule, Section
from kmod_harness.verify.comparison import Difference
from kmod_harness.verify.mechanism import Mechanism


class FindingKind(StrEnum):
    """The kind of a finding; the values appear in JSON."""

    TEXT = "text"
    READ_ONLY = "read-only data"
    WRITABLE = "table in writable data"
    ADDRESS = "address"
    PERMISSION = "permission"
    THUNK = "thunk page"


@dataclass(frozen=True)
class Finding:
    """Something that nothing explains.

    kind: kind of the finding
    text: what is wrong
    address: address of its first byte
    section: name of the section, "" where it is in none
    symbol: `name+offset/size`, "" where no symbol covers it
    source: `file:line`, "" when unknown
    expected: bytes that memory should hold
    found: bytes in memory
    expected_code: instructions of `expected`, () for data
    found_code: instructions of `found`, () for data
    """

    kind: FindingKind
    text: str
    address: int
    section: str = ""
    symbol: str = ""
    source: str = ""
    expected: bytes = b""
    found: bytes = b""
    expected_code: tuple[str, ...] = ()
    found_code: tuple[str, ...] = ()


@dataclass(frozen=True)
class SectionReport:
    """The result for one section that stays in memory.

    name: name of the section
    address: address of its first byte
    size: bytes
    region: `text`, `rodata`, `ro_after_init` or `data`
    pages: physical addresses of its pages
    permissions: permissions of its pages, such as `r-x`
    relocations: number of relocations in it
    equal: number of bytes that are as relocation left them
    explained: mechanism -> number of bytes that differ by it
    bound: address of each relocated field -> symbol
    differences: all differences; the unexplained ones have no mechanism
    section: the section in the file
    linked: bytes as relocation left them
    memory: bytes in memory
    """

    name: str
    address: int
    size: int
    region: str
    pages: tuple[int, ...]
    permissions: str
    relocations: int
    equal: int
    explained: Mapping[Mechanism, int]
    bound: Mapping[int, str] = field(repr=False)
    differences: tuple[Difference, ...] = field(repr=False)
    section: Section = field(repr=False)
    linked: bytes = field(repr=False)
    memory: bytes = field(repr=False)

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        return tuple(difference for difference in self.differences if difference.mechanism is None)

    @property
    def unexplained_bytes(self) -> int:
        return sum(difference.size for difference in self.unexplained)

    @property
    def is_contiguous(self) -> bool:
        """Whether its physical pages follow one another."""
        return all(after - before == 4096 for before, after in pairwise(self.pages))


@dataclass(frozen=True)
class ModuleReport:
    """The result for one module.

    file: file of the module
    address: address of its first block
    sections: results of its sections
    findings: what nothing explains
    limits: errors, each with what cannot be verified and why
    seconds: time spent on this module
    """

    file: KernelModule
    address: int
    sections: tuple[SectionReport, ...]
    findings: tuple[Finding, ...]
    limits: tuple[KmodHarnessError, ...]
    seconds: float

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def is_explained(self) -> bool:
        """True when every byte, address and permission has an explanation."""
        return not self.findings


@dataclass(frozen=True)
class Totals:
    """Sums over the sections of modules.

    modules: number of modules
    bytes: bytes compared
    relocations: relocations applied
    equal: bytes that are as relocation left them
    explained: mechanism -> bytes that differ by it
    places: mechanism -> number of places it changed
    unexplained: bytes without an explanation
    unexplained_text: of these, bytes of code
    """

    modules: int
    bytes: int
    relocations: int
    equal: int
    explained: Mapping[Mechanism, int]
    places: Mapping[Mechanism, int]
    unexplained: int
    unexplained_text: int


@dataclass(frozen=True)
class Report:
    """The result of a whole verification.

    modules: results of the modules
    slide: KASLR's slide in bytes
    symbols: source of the kernel's symbols
    limits: errors that concern all modules, each with what cannot be verified and why
    seconds: time spent
    """

    modules: tuple[ModuleReport, ...]
    slide: int
    symbols: str
    limits: tuple[KmodHarnessError, ...]
    seconds: float

    @property
    def is_explained(self) -> bool:
        return all(module.is_explained for module in self.modules)

    @property
    def all_limits(self) -> tuple[KmodHarnessError, ...]:
        """Why parts of the kernel, or of a module, could not be verified."""
        return (*self.limits, *(limit for module in self.modules for limit in module.limits))


def totals(modules: Sequence[ModuleReport]) -> Totals:
    """Returns the sums over these modules' sections."""
    explained: Counter[Mechanism] = Counter()
    places: Counter[Mechanism] = Counter()
    sections = [section for module in modules for section in module.sections]
    for section in sections:
        explained.update(section.explained)
        places.update(d.mechanism for d in section.differences if d.mechanism is not None)
    return Totals(
        modules=len(modules),
        bytes=sum(section.size for section in sections),
        relocations=sum(section.relocations for section in sections),
        equal=sum(section.equal for section in sections),
        explained=explained,
        places=places,
        unexplained=sum(section.unexplained_bytes for section in sections),
        unexplained_text=sum(s.unexplained_bytes for s in sections if s.region == "text"),
    )
